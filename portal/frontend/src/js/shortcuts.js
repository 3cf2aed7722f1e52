// @ts-check
// Keys that lead from page to page: `g` and a letter, `/` to search, `?` to see them all. They are
// off while one writes, and can be turned off (WCAG 2.1.4).
import { byId, h, memory } from './dom.js';

const WAIT = 1500;
const OFF = 'shortcuts-off';
/** @type {Map<string, [string, string]>} */
const GO = new Map([['h', ['/', 'Home']], ['u', ['/upload', 'Upload']], ['m', ['/my-experiments', 'My experiments']], ['q', ['/queue', 'Queue']], ['r', ['/nodes', 'Reactors']]]);
const ACTS = new Map([['g', 'prefix'], ['?', 'help'], ['/', 'search'], ['s', 'selection']]);
const WRITES = 'input:not([type=checkbox], [type=radio], [type=button]), textarea, select, [contenteditable], [role=textbox]';

/**
 * What a key means after the one before: where to go, `help`, `search`, `selection`, `prefix`, or nothing.
 * @param {string} key @param {boolean} prefixed Whether `g` was pressed just now.
 */
export function meaning(key, prefixed) {
  return (prefixed && GO.get(key)?.[0]) || (ACTS.get(key) ?? '');
}

/** Whether the key belongs to what has the focus. @param {KeyboardEvent} event */
function writes(event) {
  const target = event.composedPath()[0];
  return event.ctrlKey || event.metaKey || event.altKey || event.isComposing || (target instanceof Element && target.matches(WRITES));
}

function row(keys, text) {
  return h('div', {}, h('dt', {}, ...keys.flatMap((key, i) => (i > 0 ? [' ', h('kbd', {}, key)] : [h('kbd', {}, key)]))), h('dd', {}, text));
}

function dialog() {
  const known = /** @type {HTMLDialogElement | null} */ (byId('shortcuts'));
  if (known) return known;
  const off = h('input', { type: 'checkbox', id: 'shortcuts-on', checked: memory.get(OFF) === null });
  off.addEventListener('change', () => memory.set(OFF, off.checked ? null : 'yes'));
  const made = h(
    'dialog',
    { id: 'shortcuts', 'aria-labelledby': 'shortcuts-title' },
    h(
      'form',
      { method: 'dialog', class: 'dialog' },
      h('h2', { id: 'shortcuts-title' }, 'Keys'),
      h(
        'dl',
        { class: 'keys' },
        ...[...GO].map(([key, [, name]]) => row(['g', key], name)),
        row(['/'], 'Search, where the page can'),
        ...(document.querySelector('.selection') ? [row(['s'], 'What to do with those selected')] : []),
        row(['?'], 'This list'),
        ...(document.body.dataset.page === 'upload' ? [row(['Ctrl', 'Enter'], 'Queue the experiment'), row(['Esc', 'Tab'], 'Leave the editor')] : []),
      ),
      h('label', { class: 'tick' }, off, 'Single keys do something'),
      h('div', { class: 'actions' }, h('button', { class: 'btn' }, 'Close')),
    ),
  );
  document.body.append(made);
  return /** @type {HTMLDialogElement} */ (made);
}

/** Listen to the keys. */
export function takeShortcuts() {
  let prefixed = 0;
  addEventListener('keydown', (event) => {
    if (event.defaultPrevented || writes(event) || document.querySelector('dialog[open]')) return;
    const act = meaning(event.key, event.timeStamp - prefixed < WAIT);
    prefixed = act === 'prefix' ? event.timeStamp : 0;
    if (!act || (act !== 'help' && memory.get(OFF) !== null)) return;
    if (act === 'help') dialog().showModal();
    else if (act === 'search') /** @type {HTMLElement | null} */ (document.querySelector('main input[type=search]'))?.focus();
    else if (act === 'selection') /** @type {HTMLElement | null} */ (document.querySelector('.selection button'))?.focus();
    else if (act !== 'prefix') location.href = act;
    if (act !== 'prefix') event.preventDefault();
  });
  document.addEventListener('click', (event) => {
    if (/** @type {Element} */ (event.target).closest('#keys')) dialog().showModal();
  });
}
