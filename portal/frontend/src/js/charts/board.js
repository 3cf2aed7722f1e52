// @ts-check
// All charts of an experiment or a reactor on one time axis: history first, then live; one cursor,
// one zoom.
import { Choices } from '../choices.js';
import { byId, h, memory, setText } from '../dom.js';
import { elapsed } from '../format.js';
import { marksTable } from './alternative.js';
import { SERIES, groupChannels, groupSeries } from './groups.js';
import { Marks } from './marks.js';
import { Panel } from './panel.js';
import { Timebase, anchorsOf, clockText } from './timebase.js';

const MOST_PANELS = 40;
/** Milliseconds between two drawings: a long axis does not move visibly more often. */
const QUICK = 100;
const CALM = 500;
const LONG = 3600;
/** A view so many times smaller than the whole is worth a closer look at the record. */
const CLOSER = 2;
const SETTLED = 200;
/** Seconds: nobody needs to look closer. */
const LEAST = 0.5;

/**
 * What the charts are of. `wall`: a reactor, which knows times of day alone.
 * @typedef {{id: string, name: string, speed?: number, simulated?: boolean, wall?: boolean, every?: string}} Run
 */

export class Board {
  /**
   * @param {HTMLElement} root @param {any[]} channels of the node
   * @param {Run} run
   */
  constructor(root, channels, run) {
    this.root = root;
    this.run = run;
    this.note = byId('board-note');
    this.at = byId('board-at');
    this.voice = byId('board-voice');
    this.hidden = new Choices('charts.hidden');
    this.logs = new Choices('charts.logarithmic');
    this.time = { clock: run.wall || memory.get('charts.clock') === 'yes', base: new Timebase() };
    this.describe(channels, run);
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
    this.seen = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const panel = [...this.panels.values()].find(({ element }) => element === target);
        if (panel) panel.visible = isIntersecting;
      }
      this.draw();
    }, { rootMargin: '200px' });
    this.sized = new ResizeObserver(() => {
      for (const panel of this.panels.values()) panel.resize();
    });
    this.sized.observe(root);
    document.addEventListener('theme', () => {
      for (const panel of this.panels.values()) panel.recolour();
    });
  }

  /** What the x axis is, in words. */
  get axisName() {
    if (this.time.clock) return this.speed !== 1 ? 'time of day, while a simulation ran' : 'time of day';
    return this.speed !== 1 ? `simulated time since the start, ${this.speed} × real time` : 'time since the start';
  }

  /** The part of the axis that is shown now. @returns {[number, number]} */
  range() {
    if (this.zoomed) return this.zoomed;
    const end = Math.max(this.end, 60);
    return this.window === null ? [0, end] : [Math.max(0, end - this.window), Math.max(end, this.window)];
  }

  zoom(from, to) {
    const start = Math.max(0, from);
    const end = Math.max(start + LEAST, Math.min(to, Math.max(this.end, 60) * 1.05));
    if (start === 0 && end >= Math.max(this.end, 60)) {
      this.show(this.run.wall ? this.window : null);
      return;
    }
    this.zoomed = [Math.min(start, end - LEAST), end];
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

  /** Show times of day in place of times since the start. */
  setClock(on) {
    this.time.clock = on;
    memory.set('charts.clock', on ? 'yes' : null);
    for (const panel of this.panels.values()) panel.reopen();
    this.redraw();
  }

  /** What is known of both clocks. @param {any[]} milestones @param {string | null} started */
  setTimes(milestones, started) {
    const anchors = anchorsOf(milestones);
    if (anchors.length === 0 && started) anchors.push({ x: 0, t: Date.parse(started) / 1000 });
    const { newest } = this.time.base;
    this.time.base.set(anchors);
    if (newest) this.time.base.reach(newest.x, newest.t);
    this.addEvents(milestones.flatMap(({ what, t, elapsed: x, detail }) => {
      const place = what === 'gap' ? this.time.base.elapsed(Date.parse(t) / 1000) : x;
      const words = { paused: 'paused', resumed: 'resumed', stopping: 'asked to stop', gap: `gap in the record: ${detail}` }[what];
      return words && typeof place === 'number' ? [{ event: what, elapsed: place, data: { message: words } }] : [];
    }));
    if (this.time.clock) this.redraw();
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
    const { base } = this.time;
    const since = this.run.wall ? '' : `${elapsed(x, true)}${this.speed !== 1 ? ' simulated' : ''}`;
    setText(this.at, [since, base.known ? clockText(base.wall(x)) : '', mark?.text].filter(Boolean).join(' · '));
  }

  /** Say something to who listens in place of looking. */
  announce(text) {
    setText(this.voice, text);
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
    const moved = range !== this.axis;
    this.axis = range;
    const panels = [...this.panels.values()];
    // All sizes are asked for before anything is changed: the page is laid out once.
    const sizes = panels.map((panel) => (panel.visible && !panel.plot ? panel.size() : null));
    panels.forEach((panel, i) => {
      if (moved) panel.dirty = true;
      if (panel.dirty) panel.sayNewest();
      panel.draw(sizes[i]);
    });
  }

  /** @param {import('./groups.js').Group} group */
  add(group) {
    if (this.panels.has(group.key)) return;
    const panel = new Panel(group, this);
    this.panels.set(group.key, panel);
    this.place(panel);
    panel.setMarks();
    panel.setHidden();
    this.seen.observe(panel.element);
    if (this.note) this.note.hidden = true;
  }

  /** Put a panel where it belongs. @param {Panel} panel */
  place(panel) {
    const all = [...this.panels.values()];
    const later = [...this.root.querySelectorAll(':scope > .panel')].find((element) => {
      const other = all.find((candidate) => candidate.element === element);
      return other && other.group.rank > panel.group.rank;
    });
    this.root.insertBefore(panel.element, later ?? null);
  }

  /** The first one that is shown is the wide one. */
  widen() {
    const first = this.root.querySelector(':scope > .panel:not([hidden])');
    for (const { element } of this.panels.values()) element.classList.toggle('wide', element === first);
  }

  /** Hide lines, or show them again. @param {string[]} names */
  hide(names, on = true) {
    for (const name of names) this.hidden.set(name, on);
    for (const panel of this.panels.values()) panel.setHidden();
    this.widen();
    this.root.dispatchEvent(new CustomEvent('panels'));
    this.soon();
  }

  /**
   * Say what is measured and how its time runs: of an experiment that waits, its reactor tells later.
   * @param {any[]} channels @param {{speed?: number, simulated?: boolean}} clock
   */
  describe(channels, { speed = 1, simulated = false }) {
    this.channels = groupChannels(channels);
    /** How many times faster than real time a simulation runs; 1 where none does. */
    this.speed = simulated ? speed : 1;
    this.time.base.speed = speed > 0 ? speed : 1;
  }

  /** What a line has its panel by. */
  keyOf(name) {
    return name;
  }

  /** The panel of a channel or series. @returns {import('./groups.js').Group} */
  groupOf(name) {
    return this.channels.find(({ lines }) => lines.some((line) => line.name === name)) ?? groupSeries(name, this.series++);
  }

  /** Make panels for what has values; channels that nobody measured get none. @param {Iterable<string>} names */
  need(names) {
    const before = this.panels.size;
    for (const name of names) {
      const key = this.keyOf(name);
      if (this.shownNames.has(key) || this.panels.size >= MOST_PANELS) continue;
      this.shownNames.add(key);
      this.add(this.groupOf(key));
    }
    if (this.panels.size === before) return;
    this.widen();
    this.root.dispatchEvent(new CustomEvent('panels'));
  }

  /** Show the history; what came live meanwhile stays. @param {any} history of the contract */
  load({ traces, events = [], started_at: started = null }) {
    const full = Object.entries(traces).filter(([, trace]) => trace.t.length > 0);
    this.need(full.map(([name]) => name));
    for (const [, { t }] of full) this.end = Math.max(this.end, t[t.length - 1]);
    this.coarse = full.some(([, { downsampled }]) => downsampled);
    if (!this.time.base.known && started) this.setTimes([], started);
    for (const panel of this.panels.values()) panel.load(traces);
    this.addEvents(events);
    if (this.panels.size === 0 && this.note) this.tell('Nothing measured yet. Charts start with the first reading.');
    this.redraw();
    if (this.zoomed || this.window !== null) this.shown();
  }

  /** Show a part of the history in more detail. */
  splice({ traces, events = [] }, from, to) {
    this.close = true;
    for (const panel of this.panels.values()) panel.load(traces, from, to);
    this.addEvents(events);
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
    this.showMarks();
    this.soon();
  }

  /** Write the table of marks, if it is open. */
  showMarks() {
    const fold = /** @type {HTMLDetailsElement | null} */ (byId('marks'));
    if (!fold) return;
    fold.hidden = this.marks.all.length === 0;
    setText(byId('marks-count'), String(this.marks.all.length));
    if (fold.open) fold.querySelector('.figures')?.replaceChildren(marksTable(this.marks.all, this.time));
  }

  /** Append one live reading of this experiment. */
  append({ elapsed: x, t, values = {}, series = {} }) {
    if (typeof x !== 'number') return;
    /** @type {Record<string, number | null>} */
    const all = { ...values };
    for (const name of Object.keys(series)) all[SERIES + name] = series[name];
    for (const name of Object.keys(all)) if (all[name] !== null && !this.shownNames.has(name)) this.need([name]);
    this.end = Math.max(this.end, x);
    this.time.base.reach(x, Date.parse(t) / 1000);
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
