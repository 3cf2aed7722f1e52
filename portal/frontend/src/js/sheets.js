// @ts-check
// A page that asks before something is done is shown over the one that the person is on. It is the
// same page that people without scripts see, so what it says is written once.
import { h, icon } from './dom.js';
import { toast } from './toasts.js';
import { writeTimes } from './times.js';

/** @param {string} address @param {string} id */
async function section(address, id) {
  const response = await fetch(address, { headers: { Accept: 'text/html' }, cache: 'no-store', signal: AbortSignal.timeout(10_000) });
  const page = new DOMParser().parseFromString(await response.text(), 'text/html');
  const body = page.getElementById(id);
  if (!response.ok || !body) throw new Error(page.querySelector('main p')?.textContent?.trim() || 'This cannot be shown now.');
  return { title: page.querySelector('h1')?.textContent ?? '', body };
}

/** @param {HTMLAnchorElement} link */
async function open(link) {
  let found;
  link.setAttribute('aria-busy', 'true');
  try {
    found = await section(link.href, /** @type {string} */ (link.dataset.sheet));
  } catch (error) {
    toast(error.message, { bad: true });
    return;
  } finally {
    link.removeAttribute('aria-busy');
  }
  const close = h('button', { type: 'button', class: 'btn plain square', 'aria-label': 'Close' }, icon('close'));
  const dialog = h(
    'dialog',
    { class: 'sheet', 'aria-labelledby': 'sheet-title' },
    h('div', { class: 'sheet-head' }, h('h2', { id: 'sheet-title' }, h('bdi', {}, found.title)), close),
    document.adoptNode(found.body),
  );
  close.addEventListener('click', () => dialog.close());
  dialog.addEventListener('submit', () => dialog.close());
  dialog.addEventListener('close', () => {
    dialog.remove();
    document.querySelector(`a[href="${CSS.escape(link.getAttribute('href') ?? '')}"]`)?.focus();
  });
  document.body.append(dialog);
  writeTimes(dialog);
  dialog.showModal();
}

/** Take over every link marked `data-sheet`, whose value is the id of what is shown of its page. */
export function takeSheets() {
  document.addEventListener('click', (event) => {
    const link = /** @type {HTMLAnchorElement | null} */ (/** @type {Element} */ (event.target).closest('a[data-sheet]'));
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(link);
  });
}
