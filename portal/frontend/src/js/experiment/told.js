// @ts-check
// What the record tells while an experiment runs, and whether the page shows it yet. What says that
// there is something new may get lost; so what the page shows is compared with what is on record,
// again and again, until it is the same.

/** Events that the page itself tells of, as milestones. */
const MILESTONES = new Set(['adopted', 'parameters', 'parameters-seen']);
/** Seconds of the experiment: events of one moment may reach the record in another order. */
const OVERLAP = 60;

/** @typedef {{event: string, t: string, elapsed?: number | null}} RecordedEvent */
/** @typedef {{what: string, t: string, attempt: number}} Milestone */

export class Told {
  constructor() {
    /** Up to which second of the experiment its events were read. */
    this.upto = 0;
    /** The newest one that is a milestone. @type {RecordedEvent | null} */
    this.newest = null;
  }

  /** From which second on to ask for events. */
  get from() {
    return Math.max(0, this.upto - OVERLAP);
  }

  /** Take events of the record, in its order. @param {RecordedEvent[]} events @param {boolean} whole all that there are */
  take(events, whole) {
    if (whole) {
      this.upto = 0;
      this.newest = null;
    }
    for (const event of events) {
      this.upto = Math.max(this.upto, event.elapsed ?? 0);
      if (MILESTONES.has(event.event) && (event.elapsed ?? 0) >= (this.newest?.elapsed ?? 0)) this.newest = event;
    }
  }

  /** Whether the page lacks the newest one. @param {Milestone[]} milestones that it shows */
  missing(milestones) {
    const { newest } = this;
    if (newest === null) return false;
    return !milestones.some(({ what, t }) => what === newest.event && Date.parse(t) === Date.parse(newest.t));
  }
}

/** The attempt that milestones tell of; 0 before the first. @param {Milestone[]} milestones */
export const attemptOf = (milestones) => Math.max(0, ...milestones.map(({ attempt }) => attempt));
