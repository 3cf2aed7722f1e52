// @ts-check
// All charts of an experiment or a reactor on one time axis: history first, then live; one cursor,
// one zoom.
import { byId, h, setText } from '../dom.js';
import { elapsed } from '../format.js';
import { SERIES, groupChannels, groupSeries } from './groups.js';
import { Marks } from './marks.js';
import { Panel } from './panel.js';

const MOST_PANELS = 40;
/** Milliseconds between two drawings: a long axis does not move visibly more often. */
const QUICK = 100;
const CALM = 500;
const LONG = 3600;
/** A view so many times smaller than the whole is worth a closer look at the record. */
const CLOSER = 2;
const SETTLED = 200;

export class Board {
  /**
   * @param {HTMLElement} root @param {any[]} channels of the node
   * @param {(x: number, seconds?: boolean) => string} words what a place on the axis is called
   */
  constructor(root, channels, words = elapsed) {
    this.root = root;
    this.words = words;
    this.note = byId('board-note');
    this.at = byId('board-at');
    /** @type {Map<string, Panel>} */
    this.panels = new Map();
    this.marks = new Marks();
    this.series = 0;
    this.looker = 0;
    /** Whether the history left points out. */
    this.coarse = false;
    /** Whether some part is there in more detail than the rest. */
    this.close = false;
    /** Channels and series that have a panel. */
    this.shownNames = new Set();
    this.end = 0;
    /** The last seconds that are shown; null: all. @type {number | null} */
    this.window = null;
    /** @type {[number, number] | null} */
    this.zoomed = null;
    this.timer = 0;
    this.drawn = 0;
    /** The range of the last drawing: when it moves, every panel does. */
    this.axis = '';
    this.channels = groupChannels(channels);
    this.seen = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const panel = [...this.panels.values()].find(({ element }) => element === target);
        if (panel) panel.visible = isIntersecting;
      }
      this.soon();
    }, { rootMargin: '200px' });
    this.sized = new ResizeObserver(() => {
      for (const panel of this.panels.values()) panel.resize();
    });
    this.sized.observe(root);
    document.addEventListener('theme', () => {
      for (const panel of this.panels.values()) panel.recolour();
    });
  }

  /** The part of the axis that is shown now. @returns {[number, number]} */
  range() {
    if (this.zoomed) return this.zoomed;
    const end = Math.max(this.end, 60);
    return this.window === null ? [0, end] : [Math.max(0, end - this.window), Math.max(end, this.window)];
  }

  zoom(from, to) {
    this.zoomed = [Math.max(0, from), to];
    this.redraw();
    this.shown();
  }

  /** Back from a zoom to what the buttons say. */
  reset() {
    this.zoomed = null;
    this.redraw();
    this.shown();
  }

  /** @param {number | null} seconds */
  show(seconds) {
    this.window = seconds;
    this.reset();
  }

  /**
   * Tell the buttons what is shown, and who has the record when a closer look at it
   * is wanted, or the whole again.
   */
  shown() {
    const [from, to] = this.range();
    clearTimeout(this.looker);
    if (this.coarse && (to - from) * CLOSER < this.end) {
      this.looker = window.setTimeout(() => this.root.dispatchEvent(new CustomEvent('closer', { detail: { from, to } })), SETTLED);
    } else if (this.close && !this.zoomed && this.window === null) {
      this.close = false;
      this.root.dispatchEvent(new CustomEvent('whole'));
    }
    this.root.dispatchEvent(new CustomEvent('shown', { detail: { window: this.window, zoomed: this.zoomed !== null } }));
  }

  hover(x, reach) {
    if (x === null) {
      setText(this.at, '');
      return;
    }
    const mark = this.marks.near(x, reach);
    setText(this.at, `at ${this.words(x, true)}${mark ? ` · ${mark.text}` : ''}`);
  }

  redraw() {
    for (const panel of this.panels.values()) panel.dirty = true;
    this.draw();
  }

  soon() {
    if (this.timer || document.hidden) return;
    const [from, to] = this.range();
    const wait = this.drawn + (to - from > LONG ? CALM : QUICK) - performance.now();
    this.timer = window.setTimeout(() => requestAnimationFrame(() => this.draw()), Math.max(0, wait));
  }

  draw() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.drawn = performance.now();
    const range = this.range().join(' ');
    if (range !== this.axis) {
      this.axis = range;
      for (const panel of this.panels.values()) panel.dirty = true;
    }
    for (const panel of this.panels.values()) panel.draw();
  }

  /** @param {import('./groups.js').Group} group */
  add(group) {
    const found = this.panels.get(group.key);
    if (found) return found;
    const panel = new Panel(group, this);
    this.panels.set(group.key, panel);
    this.place(panel);
    panel.setMarks();
    this.seen.observe(panel.element);
    if (this.note) this.note.hidden = true;
    return panel;
  }

  /** Put a panel where it belongs; the first one is the wide one. @param {Panel} panel */
  place(panel) {
    const all = [...this.panels.values()];
    const later = [...this.root.querySelectorAll(':scope > .panel')].find((element) => {
      const other = all.find((candidate) => candidate.element === element);
      return other && other.group.rank > panel.group.rank;
    });
    this.root.insertBefore(panel.element, later ?? null);
    const first = this.root.querySelector(':scope > .panel');
    for (const { element } of all) element.classList.toggle('wide', element === first);
  }

  /** Make panels for what has values; channels that nobody measured get none. @param {Iterable<string>} names */
  need(names) {
    for (const name of names) {
      if (this.shownNames.has(name) || this.panels.size >= MOST_PANELS) continue;
      this.shownNames.add(name);
      const group = this.channels.find(({ lines }) => lines.some((line) => line.name === name));
      this.add(group ?? groupSeries(name, this.series++));
    }
  }

  /** Show the history; what came live meanwhile stays. @param {any} history of the contract */
  load({ traces, events = [] }) {
    const full = Object.entries(traces).filter(([, trace]) => trace.t.length > 0);
    this.need(full.map(([name]) => name));
    for (const [, { t }] of full) this.end = Math.max(this.end, t[t.length - 1]);
    this.coarse = full.some(([, { downsampled }]) => downsampled);
    for (const panel of this.panels.values()) panel.load(traces);
    this.addEvents(events);
    if (this.panels.size === 0 && this.note) this.tell('Nothing measured yet. Charts start with the first reading.');
    this.redraw();
    if (this.zoomed || this.window !== null) this.shown();
  }

  /** Show a part of the history in more detail. */
  splice({ traces }, from, to) {
    this.close = true;
    for (const panel of this.panels.values()) panel.load(traces, from, to);
    this.redraw();
  }

  /** Forget everything, as for another axis. */
  clear() {
    for (const { element, plot } of this.panels.values()) {
      this.seen.unobserve(element);
      plot?.destroy();
      element.remove();
    }
    this.panels.clear();
    this.shownNames.clear();
    this.marks = new Marks();
    this.series = 0;
    this.end = 0;
  }

  addEvents(events) {
    if (!this.marks.add(events)) return;
    for (const panel of this.panels.values()) panel.setMarks();
    this.soon();
  }

  /** Append one live reading of this experiment. */
  append({ elapsed: x, values = {}, series = {} }) {
    if (typeof x !== 'number') return;
    const all = { ...values };
    for (const [name, value] of Object.entries(series)) all[SERIES + name] = value;
    this.need(Object.keys(all).filter((name) => all[name] !== null));
    this.end = Math.max(this.end, x);
    for (const panel of this.panels.values()) panel.append(x, all);
    this.soon();
  }

  /** Say something in place of charts. */
  tell(text, action = null) {
    if (!this.note) return;
    this.note.hidden = false;
    this.note.replaceChildren(h('div', { class: 'empty slim' }, h('p', {}, text), action));
  }
}
