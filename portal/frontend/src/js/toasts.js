// @ts-check
import { byId, h, icon } from './dom.js';
import { sentence } from './format.js';

const MOST = 4;
/** Milliseconds to take something back. */
const LONGER = 15_000;

/**
 * Say shortly what happened; errors stay until they are dismissed.
 * @param {string} text @param {{bad?: boolean, hint?: string, action?: {label: string, run: () => void} | null}} [options]
 */
export function toast(text, { bad = false, hint = '', action = null } = {}) {
  const list = byId('toasts');
  if (!list) return;
  // In the top layer, so that an open dialog does not cover it.
  if (list.showPopover && !list.matches(':popover-open')) {
    list.popover = 'manual';
    list.showPopover();
  }
  const close = h('button', { class: 'btn plain mini square', type: 'button', 'aria-label': 'Dismiss' }, icon('close'));
  const item = h(
    'div',
    { class: bad ? 'toast bad' : 'toast' },
    icon(bad ? 'alert' : 'check'),
    h('div', { class: 'grow' }, sentence(text), hint ? h('p', { class: 'hint' }, sentence(hint)) : null),
    action && h('button', { class: 'btn mini', type: 'button', onclick: () => (item.remove(), action.run()) }, action.label),
    close,
  );
  close.addEventListener('click', () => item.remove());
  while (list.children.length >= MOST) list.firstElementChild?.remove();
  list.append(item);
  if (!bad) setTimeout(() => item.remove(), action ? LONGER : 6000);
}
