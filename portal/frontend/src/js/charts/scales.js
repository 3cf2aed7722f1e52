// @ts-check
// Ranges, ticks and what stands beside them.
import { elapsed, general } from '../format.js';
import { clockLabel, roundTimes } from './timebase.js';

const MINUTE = 60;
const HOUR = 3600;
export const STEPS = [1, 2, 5, 10, 15, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE,
  30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR, 48 * HOUR, 168 * HOUR];
const LABEL = 80;

/** A y range with room above and below; a steady value is not blown up to its noise. */
export function yRange(low, high) {
  if (low === null || high === null || !Number.isFinite(low)) return [0, 1];
  const least = Math.max(Math.abs(high), Math.abs(low)) * 0.02 || 1;
  const span = Math.max(high - low, least);
  const middle = (high + low) / 2;
  const bottom = middle - span * 0.575;
  return [low >= 0 && bottom < 0 ? 0 : bottom, middle + span * 0.575];
}

/** A range of a logarithmic axis: at least from half to twice the middle, so that one sees a slope. */
export function logRange(low, high) {
  if (low === null || high === null || !(high > 0)) return [0.1, 1];
  const bottom = low > 0 ? low : high / 1000;
  const room = Math.max((high / bottom) ** 0.06, Math.sqrt(2 / Math.min(2, high / bottom)));
  return [bottom / room, high * room];
}

/** The lowest and highest value of columns between two rows, above zero alone where wanted. */
export function extremes(columns, first, last, positive) {
  let low = null;
  let high = null;
  for (const column of columns) {
    for (let i = first; i <= last; i += 1) {
      const value = column[i];
      if (value === null || value === undefined || (positive && value <= 0)) continue;
      if (low === null || value < low) low = value;
      if (high === null || value > high) high = value;
    }
  }
  return [low, high];
}

const DIGITS = [[1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 5, 7], [1, 2, 5], [1]];

/** Ticks of a logarithmic axis: powers of ten, with as much between as there is room for. */
export function logTicks(low, high, most) {
  const every = Math.max(1, Math.ceil(Math.log10(high / low) / Math.max(1, most)));
  const ticks = (digits) => {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
      if (power % every !== 0) continue;
      for (const digit of digits) {
        const value = Number((digit * 10 ** power).toPrecision(12));
        if (value >= low && value <= high) found.push(value);
      }
    }
    return found;
  };
  const found = DIGITS.map(ticks).find(({ length }) => length <= most) ?? ticks([1]);
  if (found.length >= 3) return found;
  // Less than a decade: even steps serve better.
  const step = 10 ** Math.floor(Math.log10((high - low) / 2));
  const nice = [1, 2, 5, 10].map((digit) => digit * step).find((each) => (high - low) / each <= Math.max(2, most)) ?? step;
  const even = [];
  for (let value = Math.ceil(low / nice) * nice; value <= high; value += nice) even.push(Number(value.toPrecision(12)));
  return even;
}

/** How many decimals tell values apart that lie a step apart. */
export function decimals(step) {
  let digits = 0;
  while (digits < 8 && Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) > 1e-6) digits += 1;
  return digits;
}

/** What stands beside the ticks of a value. */
export function valueLabels(splits, step, logarithmic) {
  return splits.map((y) => (logarithmic ? general(y) : y.toFixed(decimals(step))));
}

/**
 * The x axis: seconds of the experiment, or times of day.
 * @param {{clock: boolean, base: import('./timebase.js').Timebase}} time
 */
export function timeAxis(time) {
  let step = 1;
  return {
    incrs: STEPS,
    // uPlot takes any scale of one's own for a logarithmic one and leaves labels out
    filter: (u, splits) => splits,
    splits: (u, axis, low, high, increment) => {
      if (!time.clock) {
        const splits = [];
        for (let x = Math.ceil(low / increment) * increment; x <= high + 1e-6; x += increment) splits.push(x);
        return splits;
      }
      const found = roundTimes(time.base.wall(low), time.base.wall(high), u.bbox.width / devicePixelRatio / LABEL);
      step = found.step;
      return found.times.map((t) => time.base.elapsed(t));
    },
    values: (u, splits, axis, space, increment) => splits.map((x) => (
      time.clock ? clockLabel(Math.round(time.base.wall(x)), step) : elapsed(x, increment < MINUTE)
    )),
  };
}
