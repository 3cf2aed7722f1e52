// @ts-check
import { live } from '../common.js';
import { takeAnnotation } from '../annotation.js';
import { call } from '../api.js';
import { Board } from '../charts/board.js';
import { offerLines } from '../charts/chooser.js';
import { byId, h, pageData } from '../dom.js';
import { showContainer } from '../experiment/container.js';
import { takeParameters, tellParameters } from '../experiment/parameters.js';
import { takePreviews } from '../experiment/results.js';
import { takeScript } from '../experiment/script.js';
import { Told, attemptOf } from '../experiment/told.js';
import { Console, tellDropped } from '../log/console.js';
import '../menu.js';
import { report } from '../readings.js';
import { refresh } from '../regions.js';
import { whileSeen } from '../seen.js';
import { findSparks } from '../sparks.js';

const EVENTS_EVERY = 10_000;
const RETRY = 10_000;
/** As many as a wide chart has pixels; a closer look fetches more. The template has the same. */
const POINTS = 800;

let data = pageData('experiment-data');
const id = data.experiment_id;
const board = new Board(/** @type {HTMLElement} */ (byId('board')), data.channels, {
  id, name: data.name, speed: data.speed, simulated: data.simulated, every: `/api/experiments/${id}/telemetry?format=csv`,
});
const log = new Console(id);

const facts = () => byId('head')?.dataset ?? {};
const over = () => ['completed', 'failed', 'cancelled'].includes(facts().status ?? '');

/** Whether two times differ, in whatever form they are written. */
const moved = (a, b) => Date.parse(a ?? '') !== Date.parse(b ?? '') && Boolean(a || b);

/** What the page tells of the experiment's life. */
const milestones = () => pageData('milestones') ?? [];

/** What the server last said of the experiment's two clocks. */
function takeTimes() {
  board.setTimes(milestones(), facts().started || null);
}

let loading = false;
let wanted = false;
let loaded = false;
let retry = 0;
const told = new Told();

/** Have the page made anew as long as it does not show what is on record. */
function compare() {
  if (told.missing(milestones())) refresh();
}

async function loadHistory() {
  if (!facts().node) return;
  wanted = loading; // what is on its way may lack what has come since it was asked for
  if (loading) return;
  loading = true;
  clearTimeout(retry);
  try {
    // The first one is on its way already: the page asks for it ahead.
    const history = await call(`/api/experiments/${id}/history?points=${POINTS}`, loaded ? {} : { cache: 'default' });
    const { events = [] } = history;
    board.load(history);
    if (over() && board.panels.size === 0) board.tell('Nothing was measured.');
    tellDropped(events);
    loaded = true;
    told.take(events, true);
    compare();
  } catch (error) {
    if (!loaded && board.panels.size === 0) {
      board.tell(`What was measured cannot be read now: ${error.message}`, h('button', { class: 'btn', type: 'button', onclick: loadHistory }, 'Try again'));
    }
    retry = window.setTimeout(loadHistory, RETRY);
  } finally {
    loading = false;
  }
  if (wanted) loadHistory();
}

/** More detail for the part that somebody looks at. */
async function lookCloser({ from, to }) {
  const history = await call(`/api/experiments/${id}/history?points=${POINTS}&start=${from}&end=${to}`).catch(() => null);
  if (history) board.splice(history, from, to);
}

/** Doses and settings are not part of the live readings; they follow from the record. */
async function loadEvents() {
  if (!loaded || over()) return;
  const history = await call(`/api/experiments/${id}/history?points=2&start=${told.from}`).catch(() => null);
  const { events = [] } = history ?? {};
  told.take(events, false);
  board.addEvents(events);
  compare();
}

/** @type {{node: string, stop: (() => void)[]}} */
let followed = { node: '', stop: [] };

/** Follow the reactor that runs this experiment, once there is one. */
function follow() {
  const node = facts().node ?? '';
  if (node === followed.node) return;
  for (const stop of followed.stop) stop();
  followed = { node, stop: [] };
  if (!node) return;
  if (!over()) {
    followed.stop = [
      live.subscribe(`nodes/${node}/telemetry`, ({ payloads }) => {
        for (const reading of payloads) if (reading.experiment_id === id) board.append(reading);
      }),
      live.subscribe(`nodes/${node}/console`, ({ experiment_id, lines }) => {
        if (experiment_id === id) log.append(lines);
      }),
      live.subscribe(`nodes/${node}/report`, (frame) => {
        if (frame.payload?.activity?.experiment_id !== id) return;
        report(frame);
        showContainer(frame);
      }),
    ];
  }
  loadHistory();
}

function resume() {
  loadHistory();
  log.resume();
}

live.subscribe(`experiments/${id}`, ({ payload }) => {
  if (!payload) return;
  tellParameters(payload.parameters ?? {});
  // a reactor that comes or goes, and a new forecast, change no revision
  const away = Boolean(payload.unreachable_since) !== ('away' in facts());
  const start = payload.status === 'queued' && moved(payload.estimated_start, facts().start);
  if (String(payload.revision) !== facts().revision || away || start) refresh();
});
document.addEventListener('recovered', resume);
document.addEventListener('visibilitychange', () => {
  if (document.hidden) return;
  board.soon();
  log.append([]);
});

let wasOver = over();
let attempt = attemptOf(milestones());
document.addEventListener('regions', () => {
  const begun = attemptOf(milestones());
  if (attempt > 0 && begun > attempt) {
    location.reload(); // charts and log begin anew with it
    return;
  }
  attempt = Math.max(attempt, begun);
  if (data.channels.length === 0) {
    data = pageData('experiment-data');
    board.describe(data.channels, data);
  }
  takeTimes();
  follow();
  findSparks();
  if (over() && !wasOver) resume();
  wasOver = over();
});
whileSeen(EVENTS_EVERY, loadEvents);
takeTimes();
follow();
findSparks();
offerLines(board);
takePreviews();

takeParameters(id);
takeScript(id);

board.root.addEventListener('whole', () => loadHistory());
board.root.addEventListener('closer', (event) => lookCloser(/** @type {CustomEvent} */ (event).detail));
byId('marks')?.addEventListener('toggle', () => board.showMarks());

const clock = /** @type {HTMLSelectElement | null} */ (byId('axis'));
if (clock) {
  clock.value = board.time.clock ? 'clock' : 'start';
  clock.addEventListener('change', () => board.setClock(clock.value === 'clock'));
}
const windows = byId('windows');
windows?.addEventListener('click', (event) => {
  const button = /** @type {Element} */ (event.target).closest('button');
  if (button) board.show(button.dataset.window ? Number(button.dataset.window) : null);
});
byId('reset-zoom')?.addEventListener('click', () => board.reset());
board.root.addEventListener('shown', (event) => {
  const { window: seconds, zoomed } = /** @type {CustomEvent} */ (event).detail;
  for (const button of windows?.querySelectorAll('button') ?? []) {
    button.setAttribute('aria-pressed', String(!zoomed && button.dataset.window === String(seconds ?? '')));
  }
  const reset = byId('reset-zoom');
  if (reset) reset.hidden = !zoomed;
});
takeAnnotation();
