// @ts-check
// Two clocks: seconds of the experiment's own (simulated ones, where the reactor is; pauses left
// out) and the time of day. Between two moments of which both are known, both go evenly.

/**
 * Seconds of the experiment, seconds since 1970, and whether it stands still from here on.
 * @typedef {{x: number, t: number, held?: boolean}} Anchor
 */

const TELLING = new Set(['executing', 'paused', 'resumed', 'adopted', 'parameters', 'parameters-seen', 'stopping', 'released']);

const DAY = 86_400;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200,
  DAY, 2 * DAY, 7 * DAY, 14 * DAY];

export class Timebase {
  /** @param {Anchor[]} anchors @param {number} speed of the experiment's clock */
  constructor(anchors = [], speed = 1) {
    this.speed = speed > 0 ? speed : 1;
    this.set(anchors);
  }

  /** @param {Anchor[]} anchors */
  set(anchors) {
    const sorted = anchors.filter(({ x, t }) => Number.isFinite(x) && Number.isFinite(t)).sort((a, b) => a.t - b.t);
    /** @type {Anchor[]} */
    this.anchors = [];
    // A clock that was set back must not make time run backwards.
    for (const anchor of sorted) if (anchor.x >= (this.anchors.at(-1)?.x ?? -Infinity)) this.anchors.push(anchor);
    /** All that is known, the newest reading included. @type {Anchor[]} */
    this.all = [...this.anchors];
  }

  get known() {
    return this.anchors.length > 0;
  }

  /** The newest reading's two times; there is one such anchor however long it goes on. */
  reach(x, t) {
    const last = this.anchors.at(-1);
    if (!Number.isFinite(x) || !Number.isFinite(t) || (last && (x < last.x || t < last.t))) return;
    this.all.length = this.anchors.length;
    this.all.push({ x, t });
  }

  /** The newest reading, if there is one after the anchors. */
  get newest() {
    return this.all.length > this.anchors.length ? this.all[this.all.length - 1] : null;
  }

  /** The time of day of a second of the experiment: where it was paused, the moment when that began. */
  wall(x) {
    return this.#map(x, 'x', 't', 1 / this.speed);
  }

  /** The experiment's second of a time of day: it stands still during a pause. */
  elapsed(t) {
    return this.#map(t, 't', 'x', this.speed);
  }

  #map(value, from, to, slope) {
    const { all } = this;
    if (all.length === 0) return value * slope;
    let low = 0;
    let high = all.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (all[middle][from] < value) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return all[0][to] + (value - all[0][from]) * slope;
    const before = all[low - 1];
    if (low === all.length) return before[to] + (value - before[from]) * slope;
    const after = all[low];
    const span = after[from] - before[from];
    return span === 0 ? before[to] : before[to] + ((value - before[from]) / span) * (after[to] - before[to]);
  }

  /** Where the experiment stood still while time went on. @returns {{x: number, from: number, to: number}[]} */
  get pauses() {
    const { anchors } = this;
    return anchors.flatMap((anchor, i) => {
      const before = anchors[i - 1];
      return before?.held && anchor.t - before.t > 0.5 ? [{ x: before.x, from: before.t, to: anchor.t }] : [];
    });
  }
}

/** The anchors that milestones of the latest attempt give. @param {any[]} milestones @returns {Anchor[]} */
export function anchorsOf(milestones) {
  const attempt = Math.max(0, ...milestones.map((milestone) => milestone.attempt));
  return milestones.flatMap(({ attempt: of, what, t, elapsed }) => {
    if (of !== attempt || !TELLING.has(what)) return [];
    const x = what === 'executing' ? (elapsed ?? 0) : elapsed;
    return typeof x === 'number' ? [{ x, t: Date.parse(t) / 1000, held: what === 'paused' }] : [];
  });
}

/**
 * Round times of day between two, in the reader's own zone.
 * @param {number} from @param {number} to seconds since 1970 @param {number} most how many fit
 * @param {(t: number) => number} zone seconds that the zone is ahead of UTC at a time
 * @returns {{step: number, times: number[]}}
 */
export function roundTimes(from, to, most, zone = (t) => -60 * new Date(t * 1000).getTimezoneOffset()) {
  const wanted = (to - from) / Math.max(1, most);
  const step = STEPS.find((each) => each >= wanted) ?? Math.ceil(wanted / (14 * DAY)) * 14 * DAY;
  const shift = zone(from);
  const times = [];
  for (let t = Math.ceil((from + shift) / step) * step - shift; t <= to; t += step) times.push(t);
  return { step, times };
}

const two = (n) => String(n).padStart(2, '0');
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** A time of day as an axis shows it: with the day where a day begins or all are days. */
export function clockLabel(t, step) {
  const date = new Date(t * 1000);
  const day = `${MONTHS[date.getMonth()]} ${date.getDate()}`;
  const midnight = date.getHours() === 0 && date.getMinutes() === 0 && date.getSeconds() === 0;
  if (step >= DAY || midnight) return day;
  return `${date.getHours()}:${two(date.getMinutes())}${step < 60 ? `:${two(date.getSeconds())}` : ''}`;
}

/** A time of day in full, to the second. */
export function clockText(t) {
  const date = new Date(t * 1000);
  return `${MONTHS[date.getMonth()]} ${date.getDate()}, ${date.getHours()}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}
