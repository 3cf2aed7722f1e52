// @ts-check
// Charts of several runs on one axis, each from its start: a panel for every channel, a line for
// every run. What a panel calls its lines is the run's letter and the channel: `A od`.
import { Board } from './board.js';
import { SERIES, groupChannels } from './groups.js';
import { fileName } from './rows.js';

/** By letter; the style sheet has the same. */
const INKS = { A: '--s-6', B: '--s-1', C: '--s-2', D: '--s-3', E: '--s-5', F: '--s-4' };
const UNKNOWN = 1;

/** @typedef {{id: string, letter: string, name: string}} Run */

/** Names that are chosen for as long as the page is open: letters mean others the next time. */
class Passing {
  names = new Set();

  has(name) {
    return this.names.has(name);
  }

  set(name, on) {
    if (on) this.names.add(name);
    else this.names.delete(name);
  }
}

export class Comparison extends Board {
  /** @param {HTMLElement} root @param {Run[]} runs @param {any[]} channels of their nodes */
  constructor(root, runs, channels) {
    super(root, [], { id: '', name: fileName('comparison', ...runs.map(({ name }) => name)) });
    this.runs = runs;
    this.time.clock = false; // each began at another time of day
    this.hidden = /** @type {any} */ (new Passing());
    this.units = new Map(channels.map(({ name, unit }) => [name, unit === '1' ? '' : unit]));
    this.known = new Map(groupChannels(channels).flatMap(({ lines, rank }) => lines.map((line) => [line.name, { line, rank }])));
    /** What was measured: traces by channel, by letter. @type {Map<string, Record<string, any>>} */
    this.record = new Map();
  }

  /** A channel of all runs has one panel. */
  keyOf(name) {
    return name.slice(2);
  }

  /** The panel of a channel or of an author's own series. @returns {import('./groups.js').Group} */
  groupOf(channel) {
    const { line, rank } = this.known.get(channel) ?? { line: null, rank: UNKNOWN };
    const title = line?.label ?? (channel.startsWith(SERIES) ? channel.slice(SERIES.length) : channel);
    const lines = this.runs.map(({ letter }) => ({
      name: `${letter} ${channel}`,
      label: letter,
      ink: INKS[letter],
      dashed: false,
      stepped: line?.stepped ?? false,
      precision: line?.precision ?? null,
      least: line?.least ?? -Infinity,
    }));
    return { key: `compared ${channel}`, title, unit: this.units.get(channel) ?? '', lines, rank };
  }

  /** All traces, called as the lines are. */
  traces(record) {
    return Object.fromEntries([...record].flatMap(([letter, traces]) =>
      Object.entries(traces).map(([channel, trace]) => [`${letter} ${channel}`, trace])));
  }

  /** Show the record of some runs; what is known of the others stays. @param {Map<string, any>} histories by letter */
  present(histories) {
    for (const [letter, { traces }] of histories) this.record.set(letter, traces);
    this.load({ traces: this.traces(this.record) });
  }

  /** Show a part of it in more detail. @param {Map<string, any>} histories by letter */
  closer(histories, from, to) {
    const record = new Map([...histories].map(([letter, { traces }]) => [letter, traces]));
    this.splice({ traces: this.traces(record) }, from, to);
  }

  /** Hide a run in every chart, or show it again. @param {string} letter @param {boolean} on */
  hideRun(letter, on) {
    this.hide([...this.shownNames].map((channel) => `${letter} ${channel}`), on);
  }
}
