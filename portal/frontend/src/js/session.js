// @ts-check
// Who administrates is known to the browser, not to one tab: a login that begins or ends in another
// one, or ends by itself, shows in all.
import { live } from './live.js';
import { refresh, rendered } from './regions.js';

const channel = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel('session');
const mine = () => rendered()?.dataset.session;
let timer = 0;

let looked = '';

/**
 * Look when the login ends: once, as a clock that is ahead would have us look again and again. When
 * it ends by the portal's clock, the portal ends the live connection, and its return has us look.
 */
function wait() {
  clearTimeout(timer);
  const { until } = rendered()?.dataset ?? {};
  if (!until || until === looked) return;
  timer = window.setTimeout(
    () => {
      looked = until;
      refresh();
    },
    Math.max(0, Number(until) * 1000 - Date.now()) + 1000,
  );
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
