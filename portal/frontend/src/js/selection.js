// @ts-check
// What is done to several experiments at once. The ticks are the form's own; without scripts it is
// posted as it stands.
import { post } from './api.js';
import { ask } from './ask.js';
import { carryOut } from './commands.js';
import { byId, setText } from './dom.js';
import { changedMeanwhile, known, noteOrder, plainAddress, say, showConflict } from './order.js';
import { refresh } from './regions.js';

const ticks = () => /** @type {HTMLInputElement[]} */ ([...document.querySelectorAll('input[name="id"][form="selection"]')]);

/** Say how many are selected; the bar shows itself by that (in CSS). */
function count() {
  const n = ticks().filter((tick) => tick.checked).length;
  setText(byId('selection-count'), n === 1 ? '1 selected:' : `${n} selected:`);
}

/** Tick these, or take their ticks away. */
function mark(ids, checked) {
  for (const tick of ticks()) if (ids.includes(tick.value)) tick.checked = checked;
  count();
}

function leave() {
  history.replaceState(null, '', plainAddress());
  refresh();
}

/** @param {HTMLFormElement} form @param {HTMLButtonElement | null} button */
async function act(form, button) {
  const fields = new FormData(form);
  const ids = fields.getAll('id').map(String);
  const verb = button?.value ?? '';
  if (ids.length === 0) return;
  if (verb === 'cancel') {
    const yes = await ask({
      title: ids.length === 1 ? 'Cancel this experiment?' : `Cancel ${ids.length} experiments?`,
      text: 'What waits leaves the queue; what runs is asked to stop and keeps what it measured and saved so far. This cannot be undone.',
      ok: ids.length === 1 ? 'Cancel the experiment' : 'Cancel them',
      danger: true,
    });
    if (!yes) return;
  }
  const target = verb === 'before' || verb === 'after' ? String(fields.get('target') ?? '') : null;
  mark(ids, false); // at once: what is ticked while the answer is awaited is meant for the next
  let late = false;
  const answer = await carryOut(async () => {
    try {
      return await post('/api/experiments/selected', { verb, ids, target, known: Math.max(known(), Number(fields.get('known'))) });
    } catch (error) {
      late = changedMeanwhile(error);
      throw error;
    }
  }, button);
  if (late) {
    showConflict(ids, verb, target);
    return;
  }
  if (!answer) {
    mark(ids, true);
    return;
  }
  noteOrder(answer);
  say(answer.message);
  leave();
}

/** Take over the bar below the queue, and the repeat of a move that came too late. */
export function takeSelection() {
  document.addEventListener('submit', (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    if (form.dataset.selected === undefined) return;
    event.preventDefault();
    act(form, /** @type {HTMLButtonElement | null} */ (/** @type {SubmitEvent} */ (event).submitter));
  });
  document.addEventListener('change', count);
  document.addEventListener('regions', count);
  document.addEventListener('click', (event) => {
    if (!(/** @type {Element} */ (event.target).closest('[data-leave]'))) return;
    event.preventDefault();
    leave();
  });
  count();
}
