// @ts-check
// What people do to the experiments of a list: name them, keep a note, delete and restore, choose
// several. All of it are forms that work without scripts; here the page stays where it is.
import { ApiError, call, post } from './api.js';
import { carryOut } from './commands.js';
import { byId, setText } from './dom.js';
import { sentence } from './format.js';
import { refresh } from './regions.js';
import { toast } from './toasts.js';

/** Milliseconds between two downloads: browsers drop those that come at once. */
const SPACED = 400;

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

/** @param {HTMLFormElement} form @param {HTMLButtonElement | null} button */
async function annotate(form, button) {
  const field = (name) => /** @type {HTMLInputElement} */ (form.elements.namedItem(name));
  const crossed = /** @type {HTMLElement} */ (form.querySelector('.crossed'));
  const wrong = /** @type {HTMLElement} */ (form.querySelector('#annotate-wrong'));
  crossed.hidden = true;
  wrong.hidden = true;
  if (button) button.disabled = true;
  try {
    const body = { name: field('name').value, note: field('note').value, edition: Number(field('edition').value) };
    const answer = await call(/** @type {string} */ (form.dataset.annotate), { method: 'PATCH', body });
    const dialog = form.closest('dialog');
    if (!dialog) {
      location.href = field('back').value;
      return;
    }
    dialog.close();
    toast(answer.message);
    refresh();
  } catch (error) {
    if (error instanceof ApiError && error.code === 'CHANGED_MEANWHILE') {
      setText(crossed.querySelector('[data-now="name"]'), error.details.name);
      setText(crossed.querySelector('[data-now="note"]'), error.details.note);
      field('edition').value = String(error.details.edition);
      crossed.hidden = false;
    } else {
      setText(wrong.querySelector('span'), sentence(error.message));
      wrong.hidden = false;
    }
  } finally {
    if (button) button.disabled = false;
  }
}

async function download() {
  for (const { value } of ticked()) {
    const link = /** @type {HTMLAnchorElement | null} */ (document.querySelector(`a[data-download="${CSS.escape(value)}"]`));
    if (!link) continue;
    link.click();
    await new Promise((resolve) => setTimeout(resolve, SPACED));
  }
}

/** Take over the forms of a list of experiments. */
export function takeKept() {
  // Before the dialog that a form stands in hears of it, and closes.
  document.addEventListener('submit', (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    const button = /** @type {HTMLButtonElement | null} */ (/** @type {SubmitEvent} */ (event).submitter);
    const chosen = form.id === 'chosen' && button?.value === 'delete';
    const verb = chosen ? 'delete' : form.dataset.several;
    if (form.dataset.annotate === undefined && verb === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    if (verb === undefined) annotate(form, button);
    else {
      const ids = new FormData(form).getAll('ids').map(String);
      if (ids.length > 0) several(verb, ids, button);
    }
  }, { capture: true });
  document.addEventListener('change', count);
  document.addEventListener('regions', count);
  byId('chosen-download')?.addEventListener('click', download);
  count();
}
