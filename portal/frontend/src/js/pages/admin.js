// @ts-check
import '../common.js';
import { byId } from '../dom.js';
import { hold, refresh } from '../regions.js';
import { whileSeen } from '../seen.js';
import { toast } from '../toasts.js';

/** Much here, such as the hub's disk and its tokens, is on no topic that a page may watch. */
const LOOK_EVERY = 30_000;

whileSeen(LOOK_EVERY, refresh);

/** While something is typed, the page's refresh leaves it alone. */
document.addEventListener('input', ({ target }) => {
  const region = /** @type {HTMLElement | null} */ (/** @type {Element} */ (target).closest('[data-region]'));
  if (!region) return;
  const fields = /** @type {HTMLInputElement[]} */ ([...region.querySelectorAll('input')]);
  hold(region, fields.some((field) => field.value !== field.defaultValue));
});

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
