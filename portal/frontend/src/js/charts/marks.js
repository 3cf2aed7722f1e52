// @ts-check
// Doses, settings and other events: what they say, and how they are drawn in a panel.
import { general } from '../format.js';
import { ink } from './inks.js';

const MOST = 5000;
const TICK = 9;

/** @typedef {{x: number, channel: string | null, text: string, across: boolean}} Mark */

/** What says nothing new in a chart: that a run began, and that lines of the log were dropped. */
const QUIET = new Set(['dropped', 'run', 'parameters-seen']);

/** What an event is in words. @returns {string} */
function words({ event, channel, value, data = {} }) {
  const what = channel ?? '';
  if (event === 'dose') return `${what} ${data.cut_off ? 'up to ' : ''}${general(value ?? data.delivered_ml)} mL`;
  if (event === 'set') return `${what} → ${general(value)}`;
  if (event === 'parameters') return Object.entries(data.changed ?? {}).map(([name, now]) => `${name} → ${now}`).join(', ') || 'parameters';
  if (typeof data.message === 'string') return data.message;
  const text = event.replaceAll('-', ' ');
  return [text, what, value === null || value === undefined ? '' : general(value)].filter(Boolean).join(' ');
}

/** The marks of events, by time. @returns {Mark[]} */
export function marksOf(events) {
  return events
    .filter(({ elapsed, event, channel }) => typeof elapsed === 'number' && !QUIET.has(event) && (elapsed > 0 || channel))
    .map((event) => ({
      x: event.elapsed,
      channel: event.channel ?? null,
      text: words(event),
      across: event.event !== 'dose' && event.event !== 'set',
    }))
    .sort((a, b) => a.x - b.x);
}

/** Events in bounded memory, each once. */
export class Marks {
  constructor() {
    /** @type {Mark[]} */
    this.all = [];
    this.known = new Set();
  }

  /** Add what is new; returns whether anything was. */
  add(events) {
    const fresh = marksOf(events).filter((mark) => {
      const key = `${mark.x} ${mark.text}`;
      return !this.known.has(key) && this.known.add(key);
    });
    if (fresh.length === 0) return false;
    this.all = [...this.all, ...fresh].sort((a, b) => a.x - b.x);
    for (const old of this.all.splice(0, this.all.length - MOST)) this.known.delete(`${old.x} ${old.text}`);
    return true;
  }

  /** The marks of these channels, and those that concern everything. */
  of(names) {
    return this.all.filter(({ channel, across }) => across || (channel !== null && names.has(channel)));
  }

  /** The mark nearest to x, not farther than `reach`. */
  near(x, reach) {
    let best = null;
    for (const mark of this.all) {
      const distance = Math.abs(mark.x - x);
      if (distance <= reach && (!best || distance <= Math.abs(best.x - x))) best = mark;
    }
    return best;
  }
}

/**
 * Draw marks into a plot: ticks at its foot, a row for each channel, and dashed lines across for
 * what concerns everything.
 */
export function drawMarks(u, marks, names, inkOf) {
  const { ctx, bbox } = u;
  const scale = devicePixelRatio || 1;
  const { min, max } = u.scales.x;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.lineWidth = 1.5 * scale;
  const foot = bbox.top + bbox.height;
  const done = new Set();
  for (const { x, channel, across } of marks) {
    if (x < min || x > max) continue;
    const at = Math.round(u.valToPos(x, 'x', true)) + 0.5;
    // Thousands of doses in a week stand on the same few hundred pixels.
    const place = `${at} ${across ? '' : channel}`;
    if (done.has(place)) continue;
    done.add(place);
    ctx.strokeStyle = across ? ink('--line-strong') : inkOf(channel);
    ctx.setLineDash(across ? [3 * scale, 3 * scale] : []);
    ctx.beginPath();
    const row = across ? foot : foot - names.indexOf(channel) * TICK * scale;
    ctx.moveTo(at, row);
    ctx.lineTo(at, across ? bbox.top : row - (TICK - 1) * scale);
    ctx.stroke();
  }
  ctx.restore();
}
