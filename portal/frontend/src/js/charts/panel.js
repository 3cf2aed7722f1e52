// @ts-check
// One chart: a quantity over the experiment's time, with its own rows and a heading that says the
// newest values, or those under the cursor.
import uPlot from 'uplot';
import { h, setText } from '../dom.js';
import { general, number } from '../format.js';
import { ink } from './inks.js';
import { drawMarks } from './marks.js';
import { Table, silences } from './table.js';

const MINUTE = 60;
const HOUR = 3600;
const STEPS = [1, 2, 5, 10, 15, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE,
  30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR, 48 * HOUR, 168 * HOUR];
const FONT = '11px "Inter Variable", system-ui, sans-serif';

/** A y range with room above and below; a steady value is not blown up to its noise. */
export function yRange(low, high) {
  if (low === null || high === null || !Number.isFinite(low)) return [0, 1];
  const least = Math.max(Math.abs(high), Math.abs(low)) * 0.02 || 1;
  const span = Math.max(high - low, least);
  const middle = (high + low) / 2;
  const bottom = middle - span * 0.575;
  return [low >= 0 && bottom < 0 ? 0 : bottom, middle + span * 0.575];
}

/** How many decimals tell values apart that lie a step apart. */
function decimals(step) {
  let digits = 0;
  while (digits < 8 && Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) > 1e-6) digits += 1;
  return digits;
}

/** Where a series was silent, in the plot's pixels. */
function silent(u, series, first, last) {
  const column = /** @type {(number | null | undefined)[]} */ (u.data[series]);
  return silences(/** @type {number[]} */ (u.data[0]), column, first, last)
    .map(([from, to]) => /** @type {[number, number]} */ ([from, to].map((x) => Math.round(u.valToPos(x, 'x', true)))));
}

export class Panel {
  /**
   * @param {import('./groups.js').Group} group
   * @param {{range: () => [number, number], zoom: (from: number, to: number) => void,
   *   reset: () => void, words: (x: number, seconds?: boolean) => string,
   *   hover: (x: number | null, reach: number) => void, marks: import('./marks.js').Marks}} board
   */
  constructor(group, board) {
    this.group = group;
    this.board = board;
    this.table = new Table(group.lines.map(({ name }) => name));
    this.names = new Set(this.table.names);
    this.marks = [];
    this.dirty = true;
    this.visible = false;
    this.plot = null;
    this.values = group.lines.map((line) => {
      const value = h('span', { class: 'value' }, '–');
      const key = h(
        'span',
        { class: line.dashed ? 'key dashed' : 'key' },
        group.lines.length > 1 ? h('span', { class: 'what' }, line.dashed ? 'setpoint' : line.label) : null,
        value,
      );
      key.style.setProperty('--key', `var(${line.ink})`);
      return { key, value };
    });
    this.area = h('div', { class: 'plot', role: 'img' });
    this.element = h(
      'section',
      { class: 'panel', 'aria-label': group.title },
      h('header', {}, h('h3', {}, h('bdi', {}, group.title), group.unit && group.unit !== group.title ? h('span', { class: 'unit' }, group.unit) : null), ...this.values.map(({ key }) => key)),
      this.area,
    );
  }

  /** Make the plot once the panel has a size. */
  open() {
    const { width, height } = this.size();
    if (width === 0) return;
    const { group, board } = this;
    const axis = {
      stroke: () => ink('--text-2'),
      font: FONT,
      ticks: { show: false },
      grid: { stroke: () => ink('--line'), width: 1 },
    };
    this.plot = new uPlot(
      {
        width,
        height,
        padding: [8, 14, 0, 0],
        legend: { show: false },
        cursor: {
          y: false,
          sync: { key: 'experiment', setSeries: false, scales: ['x', null] },
          drag: { x: true, y: false, setScale: false, dist: 4 },
          points: { size: 7 },
          bind: { dblclick: () => () => (board.reset(), null) },
          dataIdx: (u, series, at) => (series === 0 ? at : Math.max(0, this.table.valueAt(series - 1, at))),
        },
        scales: {
          x: { time: false, range: () => board.range() },
          y: { range: (u, low, high) => /** @type {[number, number]} */ (yRange(low, high)) },
        },
        axes: [
          { ...axis, incrs: STEPS, space: 64, size: 26, gap: 4, values: (u, splits, a, s, step) => splits.map((x) => board.words(x, step < MINUTE)) },
          { ...axis, size: 50, gap: 4, space: 28, values: (u, splits, a, s, step) => splits.map((y) => y.toFixed(decimals(step))) },
        ],
        series: [
          {},
          ...group.lines.map((line) => ({
            label: line.label,
            stroke: () => ink(line.ink),
            width: line.dashed ? 1.25 : 1.75,
            dash: line.dashed ? [5, 4] : undefined,
            gaps: (u, series, first, last, holes) => [...holes, ...silent(u, series, first, last)].sort((a, b) => a[0] - b[0]),
            paths: line.stepped ? uPlot.paths.stepped?.({ align: 1 }) : uPlot.paths.linear?.(),
            points: { size: 5, show: (u, series, first, last) => last - first < 3 },
          })),
        ],
        hooks: {
          draw: [(u) => drawMarks(u, this.marks, this.table.names, (name) => this.inkOf(name))],
          setCursor: [(u) => this.hover(u)],
          setSelect: [(u) => this.selected(u)],
        },
      },
      /** @type {any} */ (this.table.data),
      this.area,
    );
    this.dirty = false;
  }

  size() {
    return { width: this.area.clientWidth, height: this.area.clientHeight };
  }

  inkOf(name) {
    return ink(this.group.lines.find((line) => line.name === name)?.ink ?? '--line-strong');
  }

  /** What is drawn for a value: nothing while a setpoint is off. */
  drawn(line, value) {
    return typeof value === 'number' && value < line.least ? null : value;
  }

  format(line, value) {
    if (value === null && line.dashed) return 'off';
    return line.precision === null ? general(value) : number(value, line.precision);
  }

  /** @param {number | null} row null: the newest */
  say(row) {
    this.group.lines.forEach((line, i) => {
      const at = this.table.valueAt(i, row ?? this.table.length - 1);
      setText(this.values[i].value, this.format(line, at < 0 ? null : this.table.y[i][at]));
    });
  }

  hover(u) {
    const { idx, left } = u.cursor;
    const on = idx !== null && idx !== undefined && left >= 0;
    this.say(on ? idx : null);
    this.board.hover(on ? u.posToVal(left, 'x') : null, u.posToVal(6, 'x') - u.posToVal(0, 'x'));
  }

  selected(u) {
    const { left, width } = u.select;
    if (width < 4) return;
    const from = u.posToVal(left, 'x');
    const to = u.posToVal(left + width, 'x');
    u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.board.zoom(from, to);
  }

  /** Draw what changed; a panel that nobody sees waits. */
  draw() {
    if (!this.visible) return;
    if (!this.plot) {
      this.open();
      return;
    }
    if (!this.dirty) return;
    this.dirty = false;
    this.plot.setData(/** @type {any} */ (this.table.data), true);
  }

  /** Append a reading; returns whether the panel has a part in it. */
  append(x, values) {
    const part = this.group.lines.some(({ name }) => values[name] !== undefined);
    if (part) {
      this.table.append(x, Object.fromEntries(this.group.lines.map((line) => [line.name, this.drawn(line, values[line.name])])));
      this.dirty = true;
      if (!(this.plot?.cursor.left >= 0)) this.say(null);
    }
    return part;
  }

  /** Take the history of this panel's lines, or a closer look at a part of it. */
  load(traces, from = undefined, upto = undefined) {
    const mine = this.group.lines.filter(({ name }) => traces[name]);
    this.table.load(Object.fromEntries(mine.map((line) => {
      const { t, v } = traces[line.name];
      return [line.name, { t, v: v.map((value) => this.drawn(line, value)) }];
    })), from, upto);
    this.dirty = true;
    this.say(null);
    const { lines, title, unit } = this.group;
    this.area.setAttribute('aria-label', `${title}${unit ? ` in ${unit}` : ''} over time, ${lines.length === 1 ? 'one line' : `${lines.length} lines`}`);
  }

  setMarks() {
    this.marks = this.board.marks.of(this.names);
    this.dirty = true;
  }

  resize() {
    const { width, height } = this.size();
    if (this.plot && width > 0) this.plot.setSize({ width, height });
  }

  recolour() {
    this.plot?.redraw(true, true);
  }
}
