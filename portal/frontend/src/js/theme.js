// Runs before the first paint, so that nobody sees the wrong colours flash by.
const root = document.documentElement;
root.classList.add('js');
try {
  const chosen = localStorage.getItem('theme');
  if (chosen === 'light' || chosen === 'dark') root.dataset.theme = chosen;
} catch {
  // Storage is forbidden here: the system's choice stands.
}

// What the page's module will ask for first: it comes while that is still on its way. A link in the
// page would have it fetched where no script runs, too.
const ahead = document.querySelector('meta[name="ahead"]');
if (ahead) {
  const link = document.createElement('link');
  Object.assign(link, { rel: 'preload', as: 'fetch', crossOrigin: 'anonymous', href: ahead.content });
  document.head.append(link);
}
