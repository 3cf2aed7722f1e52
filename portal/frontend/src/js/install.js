// @ts-check
// The service worker that says "the portal does not answer" where a page cannot be had. Browsers
// allow it with HTTPS and on this machine; without it the browser's own page says so.

/** Milliseconds after the page is loaded: it fetches what it shows then, which comes first. */
const LATER = 3000;

/** Register it, when everything else is done. */
export function install() {
  if (!('serviceWorker' in navigator)) return;
  addEventListener('load', () => setTimeout(() => {
    navigator.serviceWorker.register('/sw.js').catch(() => {
      // A certificate that the browser does not trust: the page works without.
    });
  }, LATER));
}
