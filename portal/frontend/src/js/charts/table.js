// @ts-check
// Rows of a chart in bounded memory: one column of x and some of y, as uPlot takes them.
// In y, `undefined` means that this row is another column's; `null` that there was no value.

/**
 * Indices of the rows that stay when old rows are thinned: of every stretch of x those that hold
 * some column's lowest or highest value, and the first one without a value, so that spikes and
 * gaps survive and all of the past keeps the same resolution.
 * @param {ReadonlyArray<number>} x
 * @param {ReadonlyArray<ReadonlyArray<number | null | undefined>>} columns
 * @param {number} end rows before this are thinned @param {number} stretches of equal width
 */
export function survivors(x, columns, end, stretches) {
  const kept = [];
  const width = (x[end - 1] - x[0]) / stretches || 1;
  for (let start = 0, stop = 0; start < end; start = stop) {
    const stretch = Math.floor((x[start] - x[0]) / width);
    while (stop < end && Math.floor((x[stop] - x[0]) / width) === stretch) stop += 1;
    const rows = new Set();
    for (const column of columns) {
      let low = -1;
      let high = -1;
      let hole = -1;
      for (let i = start; i < stop; i += 1) {
        const value = column[i];
        if (value === undefined) continue;
        if (value === null) {
          if (hole < 0) hole = i;
          continue;
        }
        if (low < 0 || value < /** @type {number} */ (column[low])) low = i;
        if (high < 0 || value > /** @type {number} */ (column[high])) high = i;
      }
      for (const i of [low, high, hole]) if (i >= 0) rows.add(i);
    }
    kept.push(...[...rows].sort((a, b) => a - b));
  }
  return kept;
}

const SILENCE = 8;

/**
 * Stretches in which a column says nothing for far longer than it usually does: nobody measured,
 * so no line may lead across.
 * @param {ReadonlyArray<number>} x @param {ReadonlyArray<number | null | undefined>} column
 * @param {number} first row @param {number} last row
 * @returns {[number, number][]} from one x to another, in order
 */
export function silences(x, column, first, last) {
  /** @type {[number, number][]} */
  const steps = [];
  let before = -1;
  for (let i = first; i <= last; i += 1) {
    if (column[i] === undefined || column[i] === null) continue;
    if (before >= 0) steps.push([x[before], x[i]]);
    before = i;
  }
  if (steps.length < SILENCE) return [];
  const lengths = steps.map(([from, to]) => to - from).sort((a, b) => a - b);
  const usual = lengths[Math.floor(lengths.length / 2)];
  return steps.filter(([from, to]) => to - from > SILENCE * usual);
}

/**
 * A column's stretches without a hole in them.
 * @param {ReadonlyArray<number>} x @param {ReadonlyArray<number | null | undefined>} column
 * @param {number} start x from which on
 * @returns {[number, number][][]} of each its points
 */
export function unbroken(x, column, start) {
  /** @type {[number, number][][]} */
  const runs = [];
  let open = false;
  x.forEach((at, i) => {
    const value = column[i];
    if (at < start || value === undefined) return;
    if (value === null) {
      open = false;
    } else if (open) {
      runs[runs.length - 1].push([at, value]);
    } else {
      runs.push([[at, value]]);
      open = true;
    }
  });
  return runs;
}

/** A table that never holds more than `limit` rows. */
export class Table {
  /** @param {string[]} names of the y columns @param {number} limit */
  constructor(names = [], limit = 20_000) {
    this.limit = limit;
    this.names = [...names];
    /** @type {number[]} */
    this.x = [];
    /** @type {(number | null | undefined)[][]} */
    this.y = names.map(() => []);
  }

  get length() {
    return this.x.length;
  }

  /** The x of the last row, or minus infinity. */
  get last() {
    return this.x.length > 0 ? this.x[this.x.length - 1] : -Infinity;
  }

  /** What uPlot draws. */
  get data() {
    return [this.x, ...this.y];
  }

  /** The index of a column, which is added if need be. */
  column(name) {
    let index = this.names.indexOf(name);
    if (index < 0) {
      index = this.names.push(name) - 1;
      this.y.push(new Array(this.x.length).fill(undefined));
    }
    return index;
  }

  /**
   * Append a row. A row that is not later than the last one is merged into it or left out.
   * @param {number} x @param {Record<string, number | null>} values only columns that exist count
   */
  append(x, values) {
    if (x < this.last) return;
    if (x > this.last) {
      this.x.push(x);
      for (const column of this.y) column.push(undefined);
    }
    const row = this.x.length - 1;
    for (let i = 0; i < this.names.length; i += 1) {
      const value = values[this.names[i]];
      if (value !== undefined) this.y[i][row] = value;
    }
    if (this.x.length > this.limit) this.thin();
  }

  /** Thin the older three quarters to half of the limit. */
  thin() {
    const end = Math.floor(this.x.length * 0.75);
    const stretches = Math.max(1, Math.floor(this.limit / (4 * Math.max(1, this.y.length))));
    const kept = survivors(this.x, this.y, end, stretches);
    const compact = (column) => [...kept.map((i) => column[i]), ...column.slice(end)];
    this.x = compact(this.x);
    this.y = this.y.map(compact);
    // Holes come on top of highs and lows; where they are too many the oldest rows go.
    if (this.x.length > this.limit) {
      const surplus = this.x.length - this.limit;
      this.x.splice(0, surplus);
      for (const column of this.y) column.splice(0, surplus);
    }
  }

  /**
   * Replace the rows from one x to another by those of the given traces. Without bounds everything
   * up to the traces' end: rows that came live while the history was on its way stay.
   * @param {Record<string, {t: number[], v: (number | null)[]}>} traces
   */
  load(traces, from = -Infinity, upto = -Infinity) {
    const given = Object.values(traces);
    const end = given.reduce((last, { t }) => (t.length > 0 ? Math.max(last, t[t.length - 1]) : last), upto);
    const head = this.before(from);
    const tail = this.before(end, true);
    const xs = [...new Set(given.flatMap(({ t }) => t.filter((x) => x >= from)))].sort((a, b) => a - b);
    const at = new Map(xs.map((x, i) => [x, i]));
    const old = new Map(this.names.map((name, i) => [name, this.y[i]]));
    const none = new Array(this.x.length).fill(undefined);
    this.names = [...new Set([...this.names, ...Object.keys(traces)])];
    this.y = this.names.map((name) => {
      const middle = new Array(xs.length).fill(undefined);
      const { t, v } = traces[name] ?? { t: [], v: [] };
      t.forEach((x, i) => {
        const row = at.get(x);
        if (row !== undefined) middle[row] = v[i] ?? null;
      });
      const column = old.get(name) ?? none;
      return [...column.slice(0, head), ...middle, ...column.slice(tail)];
    });
    this.x = [...this.x.slice(0, head), ...xs, ...this.x.slice(tail)];
    while (this.x.length > this.limit) this.thin();
  }

  /** How many rows lie before x, or up to it. */
  before(x, including = false) {
    const index = this.x.findIndex((value) => (including ? value > x : value >= x));
    return index < 0 ? this.x.length : index;
  }

  /** The index of the last row of a column that says something at or before a row; -1 if none. */
  valueAt(column, row) {
    const values = this.y[column];
    let i = Math.min(row, values.length - 1);
    while (i >= 0 && values[i] === undefined) i -= 1;
    return i;
  }
}
