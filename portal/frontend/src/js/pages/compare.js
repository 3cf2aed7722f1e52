// @ts-check
import { live } from '../common.js';
import { call } from '../api.js';
import { Comparison } from '../charts/comparison.js';
import { byId, pageData } from '../dom.js';
import { sentence } from '../format.js';
import { refresh } from '../regions.js';
import { whileSeen } from '../seen.js';
import { toast } from '../toasts.js';

/** As many as a wide chart has pixels; a closer look fetches more. */
const POINTS = 800;
/** Milliseconds between two looks at what still runs. */
const AGAIN = 10_000;

const data = pageData('compare-data');
const row = (id) => /** @type {HTMLElement | null} */ (document.querySelector(`[data-run="${CSS.escape(id)}"]`));
const over = ({ id }) => ['completed', 'failed', 'cancelled'].includes(row(id)?.dataset.status ?? '');

/** Runs of which it was said that they cannot be read, until they can. @type {Set<string>} */
const silent = new Set();

/** Read what some runs recorded; those that cannot be read now are told of, once. */
async function read(runs, part = '') {
  const histories = new Map();
  const answers = await Promise.allSettled(runs.map(({ id }) => call(`/api/experiments/${id}/history?points=${POINTS}${part}`)));
  answers.forEach((answer, i) => {
    const { letter } = runs[i];
    if (answer.status === 'fulfilled') {
      histories.set(letter, answer.value);
      silent.delete(letter);
    } else if (!silent.has(letter)) {
      silent.add(letter);
      toast(`What ${letter} measured cannot be read now: ${sentence(answer.reason.message)}`, { bad: true });
    }
  });
  return histories;
}

function start() {
  const board = new Comparison(/** @type {HTMLElement} */ (byId('board')), data.runs, data.channels);
  const present = async (runs) => {
    const histories = await read(runs);
    if (histories.size > 0) board.present(histories);
    if (board.panels.size === 0) board.tell(histories.size > 0 ? 'None of these runs measured anything yet.' : 'What was measured cannot be read now. It is tried again by itself.');
  };

  whileSeen(AGAIN, () => {
    const running = data.runs.filter((run) => !over(run) || !board.record.has(run.letter));
    if (running.length > 0) present(running);
  });
  document.addEventListener('recovered', () => present(data.runs));
  document.addEventListener('visibilitychange', () => document.hidden || board.soon());
  for (const run of data.runs) {
    live.subscribe(`experiments/${run.id}`, ({ payload }) => {
      if (!payload || payload.revision <= Number(row(run.id)?.dataset.revision)) return;
      refresh();
      present([run]);
    });
  }

  board.root.addEventListener('closer', async (event) => {
    const { from, to } = /** @type {CustomEvent} */ (event).detail;
    board.closer(await read(data.runs, `&start=${from}&end=${to}`), from, to);
  });
  board.root.addEventListener('whole', () => present(data.runs));
  const reset = /** @type {HTMLButtonElement} */ (byId('reset-zoom'));
  reset.addEventListener('click', () => board.reset());
  board.root.addEventListener('shown', (event) => {
    reset.hidden = !(/** @type {CustomEvent} */ (event).detail.zoomed);
  });

  document.addEventListener('click', (event) => {
    const button = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest('button[data-letter]'));
    if (!button) return;
    const shown = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', String(shown));
    board.hideRun(button.dataset.letter ?? '', !shown);
  });
  present(data.runs);
}

if (data) start();
