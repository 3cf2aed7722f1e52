// @ts-check
// Small sets of names that a browser remembers: which lines are hidden, which charts are logarithmic.
import { memory } from './dom.js';

const MOST = 200;

export class Choices {
  /** @param {string} key of the browser's storage */
  constructor(key) {
    this.key = key;
    /** @type {Set<string>} */
    this.names = new Set();
    try {
      const known = JSON.parse(memory.get(key) ?? '[]');
      if (Array.isArray(known)) this.names = new Set(known.filter((name) => typeof name === 'string'));
    } catch {
      // Not ours, or cut short: as if nothing had been chosen.
    }
  }

  has(name) {
    return this.names.has(name);
  }

  /** @param {string} name @param {boolean} on */
  set(name, on) {
    this.names.delete(name);
    if (on) this.names.add(name);
    for (const oldest of this.names) {
      if (this.names.size <= MOST) break;
      this.names.delete(oldest);
    }
    memory.set(this.key, this.names.size > 0 ? JSON.stringify([...this.names]) : null);
  }
}
