// @ts-check
import '../common.js';
import { byId } from '../dom.js';
import { toast } from '../toasts.js';

document.addEventListener('click', async (event) => {
  const button = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest('[data-copy]'));
  if (!button) return;
  const source = byId(button.dataset.copy ?? '');
  try {
    await navigator.clipboard.writeText(source?.textContent ?? '');
    toast('Copied.');
  } catch {
    // Not allowed, or no secure origin: it is selected, so that a key press copies it.
    if (source) getSelection()?.selectAllChildren(source);
    toast('It is selected: copy it with the keyboard.');
  }
});
