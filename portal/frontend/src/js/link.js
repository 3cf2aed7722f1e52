// @ts-check
// Says how the page is connected: the dot in the bar, the banners, the greyed values.
import { byId, setText } from './dom.js';
import { live } from './live.js';
import { refresh, rendered } from './regions.js';
import { whileSeen } from './seen.js';
import { writeTimes } from './times.js';

const REFRESH_EVERY = 30_000;
const PATIENCE = 3;
/** What happened meanwhile arrives at the hub after the link is back: one looks several times. */
const LOOK_AGAIN = [0, 3_000, 10_000, 30_000];

/** Ends the refresh every 30 seconds; null while there is none. @type {(() => void) | null} */
let poll = null;
/** When the portal was last lost; null while it answers. @type {Date | null} */
let lost = null;

function show(state, words) {
  const dot = byId('link');
  if (!dot) return;
  dot.dataset.state = state;
  setText(dot.firstElementChild, words);
}

/** Grey the values while what they show may be old. */
function grey() {
  const cut = rendered()?.dataset.broker === 'down';
  const away = byId('head')?.dataset.away !== undefined;
  document.documentElement.dataset.link = lost !== null || cut || away ? 'down' : 'up';
  if (!live.connected) return;
  if (cut) show('down', 'Not live');
  else if (away) show('waiting', 'Reactor away');
  else show('live', 'Live');
}

function portalLost(isLost) {
  if (isLost && !lost) lost = new Date();
  if (!isLost) lost = null;
  const banner = byId('portal-lost');
  if (banner) {
    banner.hidden = lost === null;
    if (lost) {
      banner.querySelector('time')?.setAttribute('datetime', lost.toISOString());
      writeTimes(banner);
    }
  }
  const plain = byId('no-live');
  if (plain) plain.hidden = poll === null || lost !== null;
  grey();
}

function startPolling() {
  if (poll) return;
  // Charts and logs are no regions: they ask for what came meanwhile.
  poll = whileSeen(REFRESH_EVERY, () => {
    refresh();
    missed();
  });
  refresh();
}

function stopPolling() {
  poll?.();
  poll = null;
}

/** Whether broker and hub were there when last heard of. */
let whole = true;
/** @type {number[]} */
let looks = [];

/** Tell the page that it may have missed something. */
function missed() {
  document.dispatchEvent(new CustomEvent('recovered'));
}

function recovered() {
  looks.forEach(clearTimeout);
  looks = LOOK_AGAIN.map((wait) => window.setTimeout(missed, wait));
}

/** Watch the connection and what the portal says of broker and hub. */
export function watchLink() {
  live.addEventListener('open', (event) => {
    stopPolling();
    portalLost(false);
    if (!(/** @type {CustomEvent} */ (event).detail.again)) return;
    refresh();
    recovered();
  });
  live.addEventListener('close', (event) => {
    const { failures } = /** @type {CustomEvent} */ (event).detail;
    if (!poll) show('waiting', 'Connecting');
    if (failures >= PATIENCE) startPolling();
  });
  document.addEventListener('reached', (event) => {
    const reached = /** @type {CustomEvent} */ (event).detail;
    if (live.connected) return;
    if (poll) show(reached ? 'waiting' : 'down', reached ? 'Every 30 s' : 'No connection');
    portalLost(!reached);
  });
  live.addEventListener('link', (event) => {
    const { broker, hub } = /** @type {CustomEvent} */ (event).detail;
    const now = broker && hub === 'online';
    if (now && !whole) recovered();
    whole = now;
    const state = rendered()?.dataset;
    if (state && (state.broker !== (broker ? 'up' : 'down') || state.hub !== hub)) refresh();
  });
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && !live.connected && !poll) show('waiting', 'Connecting');
  });
  document.addEventListener('regions', grey);
  grey();
}
