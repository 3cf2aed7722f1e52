// @ts-check
import { byId } from './dom.js';
import { hold } from './regions.js';

const EDGE = 60;

/** One drag, from the handle's press to its release. */
export class Drag {
  /**
   * @param {HTMLElement} grip @param {PointerEvent} event @param {HTMLElement[]} rows
   * @param {(row: HTMLElement, target: HTMLElement, where: string) => void} put what is done at its end
   */
  constructor(grip, event, rows, put) {
    this.grip = grip;
    this.row = /** @type {HTMLElement} */ (grip.closest('li'));
    this.region = /** @type {HTMLElement} */ (byId('queue'));
    this.rows = rows;
    this.put = put;
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
    hold(this.region, true);
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
    if (to !== from) this.put(row, all[to], to < from ? 'before' : 'after');
  }

  end() {
    this.listeners.abort();
    clearInterval(this.scroller);
    for (const row of this.rows) row.style.transform = '';
    this.row.classList.remove('dragged');
    this.row.parentElement?.classList.remove('sorting');
    hold(this.region, false);
  }
}
