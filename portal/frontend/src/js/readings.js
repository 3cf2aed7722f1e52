// @ts-check
// Keeps the numbers of reactors current: `data-value="node/channel"`, `data-elapsed="node"`.
import { setText } from './dom.js';
import { number, sentence, span } from './format.js';
import { live } from './live.js';
import { findSparks, feedSparks, reloadSparks } from './sparks.js';

/**
 * The newest reading of each node, kept while the tab is hidden. One that came over an earlier
 * connection is older than what the server writes into the page. @type {Map<string, any>}
 */
const newest = new Map();
for (const event of ['open', 'close']) live.addEventListener(event, () => newest.clear());

function write(node) {
  const reading = newest.get(node);
  if (!reading) return;
  for (const element of document.querySelectorAll(`[data-value^="${CSS.escape(node)}/"]`)) {
    const { value, precision } = /** @type {HTMLElement} */ (element).dataset;
    const given = reading.values[/** @type {string} */ (value).slice(node.length + 1)];
    if (given !== undefined) setText(element, number(given, Number(precision)));
  }
}

/** Write what a report says of the running time, and of what is done meanwhile. */
export function report({ topic, payload }) {
  if (!payload) return;
  const node = topic.split('/')[1];
  const { activity } = payload;
  if (activity) {
    for (const element of document.querySelectorAll(`[data-elapsed="${CSS.escape(node)}"]`)) setText(element, span(activity.elapsed));
    if (activity.detail) for (const element of document.querySelectorAll(`[data-detail="${CSS.escape(node)}"]`)) setText(element, sentence(activity.detail));
  }
  const age = document.querySelector(`[data-report-age="${CSS.escape(node)}"] time`);
  if (age) {
    age.setAttribute('datetime', payload.at);
    setText(age, 'just now');
  }
}

/** Follow these telemetry topics: one node's, or `nodes/+/telemetry`. */
export function followReadings(filter = 'nodes/+/telemetry') {
  live.subscribe(filter, ({ topic, payloads }) => {
    const node = topic.split('/')[1];
    newest.set(node, payloads[payloads.length - 1]);
    feedSparks(node, payloads);
    if (!document.hidden) write(node);
  });
  live.subscribe('nodes/+/report', report);
  document.addEventListener('recovered', reloadSparks);
  document.addEventListener('regions', () => {
    findSparks();
    for (const node of newest.keys()) write(node);
  });
  findSparks();
}
