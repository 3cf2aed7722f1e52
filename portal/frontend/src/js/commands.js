// @ts-check
// Forms that carry a command work without scripts. Here they ask first where that is due, go to
// the REST interface instead, say what came of it, and leave the page where it is.
import { post } from './api.js';
import { ask } from './ask.js';
import { refresh } from './regions.js';
import { toast } from './toasts.js';

/** Do something at the server and tell how it went: its answer, or null. */
export async function carryOut(action, button = null) {
  const focused = button !== null && document.activeElement === button;
  if (button) {
    button.disabled = true;
    button.setAttribute('aria-busy', 'true');
  }
  try {
    const answer = await action();
    toast(answer.message, { bad: answer.success === false });
    return answer;
  } catch (error) {
    toast(error.message, { bad: true, hint: error.hint });
    return null;
  } finally {
    if (button) {
      button.disabled = false;
      button.removeAttribute('aria-busy');
      // A disabled button loses the focus, and with it a keyboard its place.
      if (focused && document.activeElement === document.body) button.focus({ preventScroll: true });
    }
    refresh();
  }
}

/** @param {HTMLFormElement} form @param {HTMLElement | null} button */
async function submit(form, button) {
  const { api, confirm, confirmText, confirmOk, confirmDanger, confirmNow } = { ...form.dataset, ...button?.dataset };
  if (confirm) {
    const yes = await ask({ title: confirm, text: confirmText, ok: confirmOk, danger: confirmDanger !== undefined, urgent: confirmNow !== undefined });
    if (!yes) return;
  }
  const fields = Object.fromEntries(new FormData(form));
  const body = Object.keys(fields).length > 0 ? fields : undefined;
  await carryOut(() => post(/** @type {string} */ (api), body), button ?? form.querySelector('button'));
}

/** Take over every form marked `data-api`, also those that appear later; a button may say another. */
export function takeCommands() {
  document.addEventListener('submit', (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    if (form.dataset.api === undefined || event.defaultPrevented) return;
    event.preventDefault();
    submit(form, /** @type {SubmitEvent} */ (event).submitter);
  });
}
