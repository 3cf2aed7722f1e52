// @ts-check
// Turns every <time data-time> into the reader's own zone and keeps the relative ones true.
import { setText } from './dom.js';
import { moment } from './format.js';
import { whileSeen } from './seen.js';

const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'long' });

/** Write the times below an element. */
export function writeTimes(root = document, selector = 'time[data-time]') {
  for (const element of root.querySelectorAll(selector)) {
    const stamp = element.getAttribute('datetime');
    if (!stamp) continue;
    const date = new Date(stamp);
    if (Number.isNaN(date.getTime())) continue;
    const { time } = /** @type {HTMLElement} */ (element).dataset;
    setText(element, moment(date, time));
    if (time !== 'second' && !element.hasAttribute('title')) element.setAttribute('title', full.format(date));
  }
}

/** Write them now and go on; a hidden tab is left alone. */
export function keepTimes() {
  writeTimes();
  whileSeen(15_000, () => writeTimes(document, 'time[data-time="ago"], time[data-time="clock"]'));
  document.addEventListener('regions', () => writeTimes());
}
