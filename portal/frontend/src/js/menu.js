// @ts-check
// A button with a few things to choose from: a <details> that closes when one looks elsewhere.
import { h, icon } from './dom.js';

/**
 * @param {{label: string, picture?: string, text?: string, cls?: string}} look
 * @param {...(HTMLElement | null)} items
 */
export function menu({ label, picture = 'more', text = '', cls = '' }, ...items) {
  const summary = h('summary', { class: `btn mini${text ? '' : ' square'}`, 'aria-label': text ? undefined : label, title: label }, icon(picture), text || null);
  return h('details', { class: `menu ${cls}`.trim() }, summary, h('div', { class: 'menu-items' }, ...items));
}

/** One thing to do; the menu closes after it. */
export function item(picture, text, action) {
  return h('button', {
    class: 'btn plain',
    type: 'button',
    onclick: (event) => {
      const details = /** @type {HTMLElement} */ (event.currentTarget).closest('details');
      if (details) details.open = false;
      details?.querySelector('summary')?.focus();
      action();
    },
  }, icon(picture), text);
}

function close(except) {
  for (const open of document.querySelectorAll('details.menu[open]')) {
    if (open !== except) /** @type {HTMLDetailsElement} */ (open).open = false;
  }
}

document.addEventListener('pointerdown', (event) => close(/** @type {Element} */ (event.target).closest('details.menu')));
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape') return;
  const open = /** @type {Element} */ (event.target).closest?.('details.menu[open]');
  close(null);
  /** @type {HTMLElement | null | undefined} */ (open?.querySelector('summary'))?.focus();
});
