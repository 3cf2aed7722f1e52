// @ts-check
// The name and the note of an experiment, changed over the page that shows them. What somebody else
// changed meanwhile is shown before it is overwritten.
import { ApiError, call } from './api.js';
import { setText } from './dom.js';
import { sentence } from './format.js';
import { refresh } from './regions.js';
import { toast } from './toasts.js';

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
    form.closest('dialog')?.close();
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

/** Take over the form, wherever it stands. */
export function takeAnnotation() {
  // Before the dialog that it stands in hears of it, and closes.
  document.addEventListener('submit', (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    if (form.dataset.annotate === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    annotate(form, /** @type {HTMLButtonElement | null} */ (/** @type {SubmitEvent} */ (event).submitter));
  }, { capture: true });
}
