// @ts-check
import { byId, setText } from './dom.js';

/**
 * Ask before something is done. Resolves to whether the answer was yes.
 * @param {{title: string, text?: string, ok?: string, danger?: boolean, urgent?: boolean,
 *   more?: Node | null}} question `urgent`: Enter says yes
 * @returns {Promise<boolean>}
 */
export function ask({ title, text = '', ok = 'Yes', danger = false, urgent = false, more = null }) {
  const dialog = /** @type {HTMLDialogElement} */ (byId('ask'));
  const button = /** @type {HTMLButtonElement} */ (byId('ask-ok'));
  setText(byId('ask-title'), title);
  setText(byId('ask-text'), text);
  setText(button, ok);
  button.className = danger ? 'btn solid-danger' : 'btn primary';
  byId('ask-more')?.replaceChildren(...(more ? [more] : []));
  dialog.returnValue = 'no';
  dialog.showModal();
  if (urgent) button.focus();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}
