// @ts-check
// Who administrates is known to the browser, not to one tab: a login that begins or ends in another
// one, or ends by itself, shows in all.
import { live } from './live.js';
import { refresh, rendered } from './regions.js';

const channel = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel('session');
const mine = () => rendered()?.dataset.session;
let timer = 0;

/** Look when the login ends. */
function wait() {
  clearTimeout(timer);
  const { until } = rendered()?.dataset ?? {};
  if (until) timer = window.setTimeout(refresh, Math.max(0, Number(until) * 1000 - Date.now()) + 1000);
}

/** Keep the page as whoever looks at it may see it. */
export function watchSession() {
  channel?.addEventListener('message', ({ data }) => {
    if (data === mine()) return;
    // A connection is whose it was when it was opened.
    live.stop();
    live.now();
    refresh();
  });
  channel?.postMessage(mine());
  document.addEventListener('regions', wait);
  wait();
}
