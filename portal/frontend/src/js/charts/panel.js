// @ts-check
// One chart: a quantity over the experiment's time, with its own rows, a heading that says the
// newest values, or those under the cursor, and what one can do with it.
import { h, icon, setText } from '../dom.js';
import { general, number } from '../format.js';
import { item, menu } from '../menu.js';
import { toast } from '../toasts.js';
import { moment, tableOf } from './alternative.js';
import { picture, save } from './export.js';
import { listen, listenToKeys } from './gestures.js';
import { ink } from './inks.js';
import { makePlot } from './plot.js';
import { csv, fileName, rowsOf } from './rows.js';
import { Table } from './table.js';

/** Rows of one chart: more than a screen has pixels, and no more, however long it goes on. */
const ROWS = 6000;
const FIGURES_EVERY = 5000;
const KEYS = 'Left and right move the cursor, plus and minus zoom, page up and down move, 0 shows all.';

export class Panel {
  /** @param {import('./groups.js').Group} group @param {import('./board.js').Board} board */
  constructor(group, board) {
    this.group = group;
    this.board = board;
    this.table = new Table(group.lines.map(({ name }) => name), ROWS);
    this.names = new Set(this.table.names);
    this.marks = [];
    this.dirty = true;
    this.visible = false;
    this.plot = null;
    /** @type {HTMLElement | null} */
    this.figures = null;
    this.figured = 0;
    this.values = group.lines.map((line) => this.key(line));
    this.area = h('div', { class: 'plot', role: 'group', tabIndex: 0, 'aria-roledescription': 'chart', 'aria-description': KEYS });
    this.log = h('button', {
      class: 'btn mini',
      type: 'button',
      'aria-pressed': String(this.logarithmic),
      title: 'Logarithmic scale',
      onclick: () => this.setLogarithmic(!this.logarithmic),
    }, 'log');
    this.element = h(
      'section',
      { class: 'panel', 'aria-label': group.title },
      h(
        'header',
        {},
        h('h3', {}, h('bdi', {}, group.title), group.unit && group.unit !== group.title ? h('span', { class: 'unit' }, group.unit) : null),
        ...this.values.map(({ key }) => key),
        h('div', { class: 'tools' }, this.log, menu(
          { label: `${group.title}: more` },
          item('download', 'Picture (PNG)', () => this.savePicture()),
          item('download', 'What is shown (CSV)', () => this.saveRows()),
          board.run.every ? h('a', { class: 'btn plain', href: board.run.every, download: '' }, icon('download'), 'Every sample (CSV)') : null,
          item('table', 'Table', () => this.showFigures(this.figures === null)),
          item('hide', 'Hide', () => board.hide(group.lines.map(({ name }) => name))),
        )),
      ),
      this.area,
    );
    listenToKeys(this.area, board, {
      step: (by) => this.step(by),
      place: () => this.place,
      leave: () => this.plot?.setCursor({ left: -10, top: -10 }),
    });
  }

  get logarithmic() {
    return this.board.logs.has(this.group.key);
  }

  /** A line's name and newest value. */
  key(line) {
    const value = h('span', { class: 'value' }, '–');
    const key = h(
      'span',
      { class: line.dashed ? 'key dashed' : 'key' },
      this.group.lines.length > 1 ? h('span', { class: 'what' }, h('bdi', {}, line.dashed ? 'setpoint' : line.label)) : null,
      value,
    );
    key.style.setProperty('--key', `var(${line.ink})`);
    return { key, value };
  }

  /** Make the plot once the panel has a size. */
  open(size = this.size()) {
    if (size.width === 0) return;
    this.plot = makePlot(
      this.area,
      size,
      {
        lines: this.group.lines,
        table: this.table,
        logarithmic: this.logarithmic,
        hidden: (name) => this.board.hidden.has(name),
        marks: () => this.marks,
        inkOf: (name) => this.inkOf(name),
      },
      this.board,
      { hover: (u) => this.hover(u), selected: (u) => this.selected(u) },
    );
    listen(this.plot, this.board);
    this.dirty = false;
  }

  /** Draw from the beginning: something about the plot itself is another. */
  reopen() {
    this.plot?.destroy();
    this.plot = null;
    this.dirty = true;
  }

  setLogarithmic(on) {
    this.board.logs.set(this.group.key, on);
    this.log.setAttribute('aria-pressed', String(on));
    this.reopen();
    this.draw();
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

  /** Where the cursor stands, or null. */
  get place() {
    const { left, idx } = this.plot?.cursor ?? {};
    return typeof left === 'number' && left >= 0 && typeof idx === 'number' ? this.table.x[idx] : null;
  }

  /** Move the cursor by readings, and say what stands there. */
  step(by) {
    if (!this.plot || this.table.length === 0) return;
    const [from, to] = this.board.range();
    const first = this.table.before(from);
    const last = Math.max(first, this.table.before(to, true) - 1);
    const now = this.plot.cursor.idx;
    const row = Math.min(last, Math.max(first, this.place === null || typeof now !== 'number' ? (by > 0 ? first : last) : now + by));
    const x = this.table.x[row];
    this.plot.setCursor({ left: this.plot.valToPos(x, 'x'), top: this.size().height / 2 });
    const said = this.group.lines.map((line, i) => {
      const at = this.table.valueAt(i, row);
      return `${line.label} ${this.format(line, at < 0 ? null : this.table.y[i][at])}`;
    });
    this.board.announce(`${moment(x, this.board.time)}: ${said.join(', ')}`);
  }

  hover(u) {
    const { idx, left } = u.cursor;
    const on = idx !== null && idx !== undefined && left >= 0;
    this.say(on ? idx : null);
    this.board.hover(on ? u.posToVal(left, 'x') : null, u.posToVal(Math.max(left, 0) + 6, 'x') - u.posToVal(Math.max(left, 0), 'x'));
  }

  selected(u) {
    const { left, width } = u.select;
    if (width < 4) return;
    const from = u.posToVal(left, 'x');
    const to = u.posToVal(left + width, 'x');
    u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.board.zoom(from, to);
  }

  /** Draw what changed; a panel that nobody sees waits. @param {{width: number, height: number} | null} size if it is known */
  draw(size = null) {
    if (!this.visible) return;
    if (!this.plot) {
      this.open(size ?? this.size());
    } else if (this.dirty) {
      this.dirty = false;
      this.plot.setData(/** @type {any} */ (this.table.data), true);
    }
    if (this.figures && performance.now() - this.figured > FIGURES_EVERY && !this.figures.contains(document.activeElement)) this.showFigures(true);
  }

  /** Which of its lines are hidden has changed. */
  setHidden() {
    const on = this.group.lines.map(({ name }) => !this.board.hidden.has(name));
    this.element.hidden = !on.includes(true);
    on.forEach((shown, i) => {
      this.values[i].key.hidden = !shown;
      if (this.plot && this.plot.series[i + 1].show !== shown) this.plot.setSeries(i + 1, { show: shown });
    });
    if (this.figures) this.showFigures(true);
  }

  /** Append a reading; returns whether the panel has a part in it. */
  append(x, values) {
    const { lines } = this.group;
    let part = false;
    /** @type {Record<string, number | null>} */
    const row = {};
    for (const line of lines) {
      const value = values[line.name];
      if (value === undefined) continue;
      row[line.name] = this.drawn(line, value);
      part = true;
    }
    if (part) {
      this.table.append(x, row);
      this.dirty = true;
    }
    return part;
  }

  /** Say the newest values, unless somebody looks at others. */
  sayNewest() {
    if (this.place === null) this.say(null);
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

  /** Show or hide the figures as a table. */
  showFigures(on) {
    this.figured = performance.now();
    this.figures?.remove();
    this.figures = on ? tableOf(this) : null;
    if (this.figures) this.element.append(this.figures);
  }

  saveRows() {
    const rows = rowsOf(this.table, this.board.range(), this.board.time.base);
    save(new Blob([csv(rows)], { type: 'text/csv' }), `${fileName(this.board.run.name, this.group.title)}.csv`);
  }

  async savePicture() {
    if (!this.plot) this.open();
    if (!this.plot) return;
    const { title, unit, lines } = this.group;
    const { run } = this.board;
    try {
      const blob = await picture({
        canvas: this.plot.ctx.canvas,
        title: `${title}${unit && unit !== title ? ` (${unit})` : ''}${this.logarithmic ? ', logarithmic' : ''}`,
        run: `${run.name} · ${run.id}`,
        axis: this.board.axisName,
        lines: lines.filter(({ name }) => !this.board.hidden.has(name)),
      });
      save(blob, `${fileName(run.name, title)}.png`);
    } catch (error) {
      toast(`The picture could not be made: ${error.message}.`, { bad: true });
    }
  }

  resize() {
    if (!this.plot) return;
    const { width, height } = this.size();
    if (width > 0 && (width !== this.plot.width || height !== this.plot.height)) this.plot.setSize({ width, height });
  }

  recolour() {
    this.plot?.redraw(true, true);
  }
}
