// @ts-check
// A command by hand that was accepted and failed later: said at once, wherever its sender is now.
// The server writes the same into the page, where it stays until it was read.
import { live } from './live.js';
import { refresh } from './regions.js';
import { toast } from './toasts.js';

/** Say what fails, and take note of what was read. */
export function watchMishaps() {
  live.addEventListener('failed', (event) => {
    const { what, error } = /** @type {CustomEvent} */ (event).detail;
    toast(`${what}: ${error.message}`, { bad: true, hint: error.hint });
    refresh();
  });
  document.addEventListener('submit', async (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    if (form.dataset.read === undefined) return;
    event.preventDefault();
    const body = new URLSearchParams(/** @type {any} */ (new FormData(form)));
    try {
      // Where it leads without scripts is the page that is open already.
      await fetch(form.action, { method: 'POST', body, redirect: 'manual' });
    } finally {
      refresh();
    }
  });
}
