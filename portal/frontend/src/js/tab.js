// @ts-check
// What the browser's tab says: the page's title with its status, and an icon that shows an alarm.
import { rendered } from './regions.js';

function show() {
  const state = rendered();
  if (!state) return;
  const { title, icon } = state.dataset;
  if (title && document.title !== title) document.title = title;
  const link = document.querySelector('link[rel=icon][type="image/svg+xml"]');
  if (icon && link && link.getAttribute('href') !== icon) link.setAttribute('href', icon);
}

/** Keep the tab as the server last rendered it. */
export function keepTab() {
  document.addEventListener('regions', show);
}
