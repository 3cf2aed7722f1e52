// @ts-check
// Changes the order of the queue: by buttons, by Alt and the arrow keys, by dragging the handle.
// A move says before or after whom, and which order it goes by: if somebody else changed that
// meanwhile, nothing is moved, the new order is shown, and the move can be repeated.
import { ApiError, post } from './api.js';
import { carryOut } from './commands.js';
import { Drag } from './drag.js';
import { byId } from './dom.js';
import { live } from './live.js';
import { refresh } from './regions.js';

let busy = false;

/** @returns {HTMLElement[]} */
const rows = () => /** @type {HTMLElement[]} */ ([...document.querySelectorAll('#waiting > li')]);

/** Up to which change the order on this page is known. */
export const known = () => Number(byId('order')?.dataset.known ?? 0);

/** Have screen readers say it. */
export function say(text) {
  const element = byId('order-said');
  if (element) element.textContent = text;
}

/** The page's address without a move that came too late: whether all are shown stays. */
export function plainAddress() {
  const address = new URL(location.href);
  for (const name of ['wanted', 'where', 'target']) address.searchParams.delete(name);
  return address;
}

/** Show the new order with what was wanted: the server writes both into the page. */
export function showConflict(ids, where, target) {
  const address = plainAddress();
  for (const id of ids) address.searchParams.append('wanted', id);
  address.searchParams.set('where', where);
  if (target) address.searchParams.set('target', target);
  history.replaceState(null, '', address);
  document.addEventListener('regions', focusConflict);
  refresh();
}

/** It comes with one of the next refreshes: one may have been on its way. */
function focusConflict() {
  const conflict = byId('conflict');
  if (!conflict?.firstElementChild) return;
  conflict.focus();
  document.removeEventListener('regions', focusConflict);
}

/** Whether an error says that somebody else was faster. */
export const changedMeanwhile = (error) => error instanceof ApiError && error.code === 'CHANGED_MEANWHILE';

/** Note the order that an answer tells of, so that the next move goes by it. */
export function noteOrder(answer) {
  const order = byId('order');
  if (order && answer.known !== null && answer.known !== undefined) order.dataset.known = String(answer.known);
}

/** Put a row before or after another one, here at once and then at the hub. */
async function move(row, target, where, order = known()) {
  if (busy || !target || row === target) return;
  busy = true;
  const list = byId('waiting');
  list?.setAttribute('aria-busy', 'true');
  const focused = document.activeElement;
  const { id, name } = row.dataset;
  target[where](row);
  if (focused instanceof HTMLElement && row.contains(focused)) focused.focus();
  const place = rows().indexOf(row) + 1;
  let late = false;
  const answer = await carryOut(async () => {
    try {
      return await post(`/api/experiments/${id}/reorder?${where}=${target.dataset.id}&known=${order}`);
    } catch (error) {
      late = changedMeanwhile(error);
      throw error;
    }
  });
  if (answer) noteOrder(answer);
  say(answer ? `${name} is now number ${place} of ${rows().length}` : `${name} was not moved`);
  if (late) showConflict([id], where, target.dataset.id);
  list?.removeAttribute('aria-busy');
  busy = false;
}

/** Move a row one step. */
function step(row, by) {
  const target = by < 0 ? row.previousElementSibling : row.nextElementSibling;
  return move(row, target, by < 0 ? 'before' : 'after');
}

const KEYS = {
  ArrowUp: (row) => step(row, -1),
  ArrowDown: (row) => step(row, 1),
  Home: (row) => move(row, rows()[0], 'before'),
  End: (row) => move(row, rows().at(-1), 'after'),
};

/** Tell of moves that others make. */
function watchOthers() {
  live.subscribe('queue', ({ payload }) => {
    const moved = payload?.moved;
    if (busy || !moved || moved.count <= known()) return;
    const place = payload.waiting.findIndex((entry) => entry.experiment_id === moved.experiment_id) + 1;
    say(`${moved.by || 'Somebody'} moved ${moved.name}${place ? ` to number ${place} of ${payload.waiting.length}` : ''}`);
  });
}

/** Take over the queue's handles, its keys and its move buttons. */
export function takeOrder() {
  document.addEventListener('submit', (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    if (form.dataset.move === undefined) return;
    event.preventDefault();
    step(form.closest('li'), Number(form.dataset.move));
  });
  document.addEventListener('keydown', (event) => {
    const element = /** @type {Element} */ (event.target);
    const row = element.closest?.('#waiting > li[data-movable]');
    const act = KEYS[event.key];
    if (!row || !act || byId('order')?.hasAttribute('disabled')) return;
    if (!event.altKey && !(element.closest('[data-grip]') && event.key.startsWith('Arrow'))) return;
    event.preventDefault();
    act(row);
  });
  document.addEventListener('pointerdown', (event) => {
    const grip = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest('[data-grip]'));
    if (!grip || event.button !== 0 || busy || grip.matches(':disabled')) return;
    const order = known();
    new Drag(grip, event, rows(), (row, target, where) => move(row, target, where, order));
  });
  watchOthers();
}
