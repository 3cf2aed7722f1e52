// @ts-check
// What people do to the experiments of a list: delete and restore them, choose several. All of it
// are forms that work without scripts; here the page stays where it is.
import { post } from './api.js';
import { carryOut } from './commands.js';
import { byId, setText } from './dom.js';
import { refresh } from './regions.js';

const ticked = () => /** @type {HTMLInputElement[]} */ ([...document.querySelectorAll('input[name="ids"][form="chosen"]:checked')]);

function count() {
  const n = ticked().length;
  setText(byId('chosen-count'), `${n} selected:`);
  const compare = /** @type {HTMLButtonElement | null} */ (byId('chosen-compare'));
  if (compare) compare.disabled = n < 2;
}

/** Say in the address what was deleted: the page shows it with a button that takes it back. */
function note(ids) {
  const address = new URL(location.href);
  address.searchParams.delete('deleted');
  for (const id of ids) address.searchParams.append('deleted', id);
  history.replaceState(null, '', address);
  refresh();
}

/** What the focus stood on is gone; what takes that back comes with one of the next refreshes. */
function focusUndo() {
  const undo = byId('undo');
  if (!undo) return;
  undo.focus();
  document.removeEventListener('regions', focusUndo);
}

/** @param {string} verb @param {string[]} ids @param {HTMLButtonElement | null} button */
async function several(verb, ids, button) {
  const answer = await carryOut(() => post('/api/experiments/selected', { verb, ids }), button);
  if (!answer) return;
  for (const tick of ticked()) tick.checked = false;
  count();
  const done = answer.done.filter(({ error }) => !error).map(({ experiment_id }) => experiment_id);
  if (verb === 'restore') note([]);
  else if (done.length > 0) {
    note(done);
    document.addEventListener('regions', focusUndo);
  }
}

/** Take over the forms of a list of experiments. */
export function takeKept() {
  document.addEventListener('submit', (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    const button = /** @type {HTMLButtonElement | null} */ (/** @type {SubmitEvent} */ (event).submitter);
    const verb = form.id === 'chosen' && button?.value === 'delete' ? 'delete' : form.dataset.several;
    if (verb === undefined) return;
    event.preventDefault();
    const ids = new FormData(form).getAll('ids').map(String);
    if (ids.length > 0) several(verb, ids, button);
  });
  document.addEventListener('change', count);
  document.addEventListener('regions', count);
  count();
}
