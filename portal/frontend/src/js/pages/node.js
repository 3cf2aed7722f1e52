// @ts-check
import { live } from '../common.js';
import { call } from '../api.js';
import { Board } from '../charts/board.js';
import { byId, h, pageData, setText } from '../dom.js';
import { elapsed } from '../format.js';
import { whileSeen } from '../seen.js';
import { followReadings } from '../readings.js';

/** As many as a wide chart has pixels; a closer look fetches more. */
const POINTS = 800;
const RETRY = 10_000;

const { node, channels } = pageData('node-data');
const announced = byId('node-data')?.textContent;

/** The moment at which the axis has its zero: a midnight, so that ticks stand at whole hours. */
let zero = 0;
let windowed = 6 * 3600;
let loading = 0;
let stale = true;

const root = /** @type {HTMLElement} */ (byId('board'));
const board = new Board(root, channels, { id: node, name: document.querySelector('h1')?.textContent?.trim() ?? node, wall: true });

const onAxis = ({ t, v, ...more }) => ({ ...more, t: t.map((at) => at - zero), v });

function placed(history) {
  const traces = Object.fromEntries(
    Object.entries(history.traces).filter(([, { series }]) => !series).map(([name, trace]) => [name, onAxis(trace)]),
  );
  const events = (history.events ?? []).map((event) => ({ ...event, elapsed: Date.parse(event.t) / 1000 - zero }));
  return { traces, events };
}

const fetched = (start, end) => call(`/api/nodes/${node}/history?points=${POINTS}&start=${start.toFixed(3)}&end=${end.toFixed(3)}`);

/** Load the window that is shown, from its beginning until now. */
async function load() {
  loading += 1;
  const mine = loading;
  const now = Date.now() / 1000;
  const from = now - windowed;
  try {
    const history = await fetched(from, now);
    if (mine !== loading) return;
    const midnight = new Date(from * 1000);
    midnight.setHours(0, 0, 0, 0);
    if (zero !== midnight.getTime() / 1000) {
      zero = midnight.getTime() / 1000;
      board.clear();
      board.time.base.set([{ x: 0, t: zero }]);
    }
    board.window = windowed;
    board.zoomed = null;
    board.end = now - zero;
    board.load(placed(history));
    stale = false;
  } catch (error) {
    if (mine !== loading) return;
    if (board.panels.size === 0) {
      board.tell(`What was measured cannot be read now: ${error.message}`, h('button', { class: 'btn', type: 'button', onclick: load }, 'Try again'));
    }
    stale = true;
    if (!document.hidden) setTimeout(load, RETRY);
  }
}

async function lookCloser({ from, to }) {
  const history = await fetched(zero + from, zero + to).catch(() => null);
  if (history) board.splice(placed(history), from, to);
}

const windows = byId('windows');
windows?.addEventListener('click', (event) => {
  const button = /** @type {Element} */ (event.target).closest('button');
  if (!button) return;
  windowed = Number(button.dataset.window);
  for (const other of windows.querySelectorAll('button')) other.setAttribute('aria-pressed', String(other === button));
  load();
});
root.addEventListener('whole', load);
root.addEventListener('closer', (event) => lookCloser(/** @type {CustomEvent} */ (event).detail));

live.subscribe(`nodes/${node}/telemetry`, ({ payloads }) => {
  if (stale) return;
  for (const { t, values } of payloads) board.append({ elapsed: Date.parse(t) / 1000 - zero, t, values });
});
document.addEventListener('recovered', load);
document.addEventListener('visibilitychange', () => {
  if (document.hidden) return;
  if (stale) load();
  else board.soon();
});

/** Count down to what is announced: manual control that ends by itself. */
function countDown() {
  for (const element of document.querySelectorAll('[data-until]')) {
    const left = (Date.parse(/** @type {HTMLElement} */ (element).dataset.until ?? '') - Date.now()) / 1000;
    setText(element, left > 0 ? elapsed(left, true).replace(/^0:/, '') : 'a moment');
  }
}
whileSeen(1000, countDown);
document.addEventListener('regions', () => {
  // It came back with other channels: other charts, too.
  if (byId('node-data')?.textContent !== announced) location.reload();
  countDown();
});
countDown();

followReadings();
load();
