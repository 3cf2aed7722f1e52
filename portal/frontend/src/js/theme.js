// Runs before the first paint, so that nobody sees the wrong colours flash by.
const root = document.documentElement;
root.classList.add('js');
try {
  const chosen = localStorage.getItem('theme');
  if (chosen === 'light' || chosen === 'dark') root.dataset.theme = chosen;
} catch {
  // Storage is forbidden here: the system's choice stands.
}
