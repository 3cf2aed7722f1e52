// @ts-check
// Changes the order of the queue: by buttons, by arrow keys on the handle, by dragging the handle.
// A move says before or after whom, so that it means the same when others move things meanwhile.
import { post } from './api.js';
import { carryOut } from './commands.js';
import { byId } from './dom.js';
import { refresh } from './regions.js';

const EDGE = 60;

let busy = false;

/** @returns {HTMLElement[]} */
const rows = () => /** @type {HTMLElement[]} */ ([...document.querySelectorAll('#waiting > li')]);

function say(text) {
  const element = byId('order-said');
  if (element) element.textContent = text;
}

/** Put a row before or after another one, here at once and then at the hub. */
async function move(row, target, where) {
  if (busy || !target || row === target) return;
  busy = true;
  const list = byId('waiting');
  list?.setAttribute('aria-busy', 'true');
  const focused = document.activeElement;
  target[where](row);
  if (focused instanceof HTMLElement && row.contains(focused)) focused.focus();
  const place = rows().indexOf(row) + 1;
  const done = await carryOut(() => post(`/api/experiments/${row.dataset.id}/reorder?${where}=${target.dataset.id}`));
  say(done ? `${row.dataset.name} is now number ${place} of ${rows().length}` : `${row.dataset.name} was not moved`);
  list?.removeAttribute('aria-busy');
  busy = false;
}

/** Move a row one step. */
function step(row, by) {
  const target = by < 0 ? row.previousElementSibling : row.nextElementSibling;
  return move(row, target, by < 0 ? 'before' : 'after');
}

/** One drag, from the handle's press to its release. */
class Drag {
  /** @param {HTMLElement} grip @param {PointerEvent} event */
  constructor(grip, event) {
    this.grip = grip;
    this.row = /** @type {HTMLElement} */ (grip.closest('li'));
    this.rows = rows();
    this.from = this.rows.indexOf(this.row);
    this.to = this.from;
    this.startY = event.pageY;
    this.tops = this.rows.map((row) => row.getBoundingClientRect().top + scrollY);
    this.height = this.row.offsetHeight;
    this.pointer = event.pointerId;
    this.lastClientY = event.clientY;
    this.listeners = new AbortController();
    const { signal } = this.listeners;
    grip.setPointerCapture(event.pointerId);
    grip.addEventListener('pointermove', (e) => this.moved(e), { signal });
    grip.addEventListener('pointerup', () => this.dropped(), { signal });
    grip.addEventListener('pointercancel', () => this.end(), { signal });
    document.addEventListener('keydown', (e) => e.key === 'Escape' && this.end(), { signal });
    byId('queue')?.setAttribute('data-held', '');
    this.row.classList.add('dragged');
    this.row.parentElement?.classList.add('sorting');
    this.scroller = window.setInterval(() => this.scroll(), 16);
  }

  /** @param {PointerEvent} event */
  moved(event) {
    this.lastClientY = event.clientY;
    this.place(event.pageY);
  }

  place(pageY) {
    const offset = pageY - this.startY;
    this.row.style.transform = `translateY(${offset}px)`;
    const middle = this.tops[this.from] + this.height / 2 + offset;
    this.to = this.rows.reduce((to, row, i) => {
      const centre = this.tops[i] + row.offsetHeight / 2;
      if (i < this.from && middle < centre) return Math.min(to, i);
      if (i > this.from && middle > centre) return Math.max(to, i);
      return to;
    }, this.from);
    this.rows.forEach((row, i) => {
      if (row === this.row) return;
      const up = i > this.from && i <= this.to;
      const down = i < this.from && i >= this.to;
      row.style.transform = up ? `translateY(${-this.height}px)` : down ? `translateY(${this.height}px)` : '';
    });
  }

  scroll() {
    const below = this.lastClientY - (innerHeight - EDGE);
    const above = EDGE - this.lastClientY;
    const by = below > 0 ? below / 4 : above > 0 ? -above / 4 : 0;
    if (by === 0) return;
    const before = scrollY;
    scrollBy(0, by);
    if (scrollY !== before) this.place(this.lastClientY + scrollY);
  }

  dropped() {
    const { from, to, row, rows: all } = this;
    this.end();
    if (to !== from) move(row, all[to], to < from ? 'before' : 'after');
  }

  end() {
    this.listeners.abort();
    clearInterval(this.scroller);
    for (const row of this.rows) row.style.transform = '';
    this.row.classList.remove('dragged');
    this.row.parentElement?.classList.remove('sorting');
    byId('queue')?.removeAttribute('data-held');
    refresh();
  }
}

/** Take over the queue's handles and its move buttons. */
export function takeOrder() {
  document.addEventListener('submit', (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    if (form.dataset.move === undefined) return;
    event.preventDefault();
    step(form.closest('li'), Number(form.dataset.move));
  });
  document.addEventListener('keydown', (event) => {
    const grip = /** @type {Element} */ (event.target).closest?.('[data-grip]');
    if (!grip || (event.key !== 'ArrowUp' && event.key !== 'ArrowDown')) return;
    event.preventDefault();
    step(grip.closest('li'), event.key === 'ArrowUp' ? -1 : 1);
  });
  document.addEventListener('pointerdown', (event) => {
    const grip = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest('[data-grip]'));
    if (!grip || event.button !== 0 || busy) return;
    new Drag(grip, event);
  });
}
