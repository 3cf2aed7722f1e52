// @ts-check
// The lines of a log that a browser holds: in order, each once, in bounded memory. Where some are
// missing between two there is a hole, which knows what it lacks.
import { plain } from './ansi.js';

/** @typedef {{n: number, t: string, source: string, text: string}} Line */
/** @typedef {{from: number, upto: number}} Hole */

const MOST_LINES = 50_000;
const MOST_CHARACTERS = 16_000_000;

export class Logbook {
  constructor(mostLines = MOST_LINES, mostCharacters = MOST_CHARACTERS) {
    this.mostLines = mostLines;
    this.mostCharacters = mostCharacters;
    /** @type {Line[]} */
    this.lines = [];
    this.characters = 0;
  }

  get first() {
    return this.lines[0]?.n ?? 0;
  }

  get last() {
    return this.lines.at(-1)?.n ?? 0;
  }

  /** Whether more can be taken without losing some. */
  get full() {
    return this.lines.length >= this.mostLines || this.characters >= this.mostCharacters;
  }

  /**
   * Take lines; those that are known already are left out. The oldest make room.
   * @param {Line[]} lines @returns {boolean} whether all that is new stands at the end
   */
  add(lines) {
    const fresh = lines.filter(({ n }) => !this.has(n)).sort((a, b) => a.n - b.n).filter((line, i, all) => line.n !== all[i - 1]?.n);
    if (fresh.length === 0) return true;
    const atEnd = fresh[0].n > this.last;
    if (atEnd) this.lines.push(...fresh);
    else this.lines = [...this.lines, ...fresh].sort((a, b) => a.n - b.n);
    for (const { text } of fresh) this.characters += text.length;
    return !this.trim() && atEnd;
  }

  /** Let go of the oldest lines, a tenth at a time, so that it costs nothing each time. */
  trim() {
    if (this.lines.length <= this.mostLines && this.characters <= this.mostCharacters) return false;
    let count = Math.max(this.lines.length - this.mostLines, Math.floor(this.lines.length / 10), 1);
    let left = this.characters;
    for (let i = 0; i < count; i += 1) left -= this.lines[i].text.length;
    while (left > this.mostCharacters && count < this.lines.length - 1) left -= this.lines[count++].text.length;
    this.lines.splice(0, count);
    this.characters = left;
    return true;
  }

  has(n) {
    return this.lines[this.place(n)]?.n === n;
  }

  /** The index of the first line with this number or a higher one. */
  place(n) {
    let low = 0;
    let high = this.lines.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.lines[middle].n < n) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** @returns {Hole[]} what is missing between the first line and the last */
  get holes() {
    /** @type {Hole[]} */
    const found = [];
    for (let i = 1; i < this.lines.length; i += 1) {
      const [from, upto] = [this.lines[i - 1].n + 1, this.lines[i].n - 1];
      if (from <= upto) found.push({ from, upto });
    }
    return found;
  }
}

/** A test of lines for a text, in which capitals are like small letters. */
export function finder(wanted) {
  const low = wanted.toLowerCase();
  return (line) => plain(line.text).toLowerCase().includes(low);
}

/**
 * Cut text where a wanted one stands.
 * @returns {{text: string, hit: boolean}[]}
 */
export function cuts(text, wanted) {
  if (!wanted) return [{ text, hit: false }];
  const low = text.toLowerCase();
  const needle = wanted.toLowerCase();
  // Letters whose small form is longer would shift the places: then the whole is the hit.
  if (low.length !== text.length) return [{ text, hit: low.includes(needle) }];
  const found = [];
  let end = 0;
  for (let at = low.indexOf(needle); at >= 0; at = low.indexOf(needle, end)) {
    if (at > end) found.push({ text: text.slice(end, at), hit: false });
    found.push({ text: text.slice(at, at + needle.length), hit: true });
    end = at + needle.length;
  }
  if (end < text.length) found.push({ text: text.slice(end), hit: false });
  return found;
}
