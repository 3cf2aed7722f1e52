// @ts-check
// Decides which live messages change more than a number: then the page's regions are refreshed.
import { live } from './live.js';
import { refresh, rendered } from './regions.js';

/** What of a report shows in the structure of a page; base.html writes the same. */
export function reportSignature(report) {
  const { activity, container, estop, alarms = [], accepts, refusal, safe, manual } = report;
  return [
    report.boot_id,
    activity ? `${activity.experiment_id}.${activity.attempt}.${activity.phase}${activity.detail ? '+' : ''}` : '',
    container?.state ?? '',
    estop?.latch ?? '',
    alarms.map((alarm) => alarm.id).join('+'),
    accepts ? 'yes' : (refusal?.code ?? 'no'),
    safe ? 'safe' : 'active',
    manual ? `${manual.by} ${Math.floor(Date.parse(manual.until) / 1000)}` : '',
  ].join('|');
}

/** What of the queue shows in a page besides what its revision tells; base.html writes the same. */
export function queueSignature(queue) {
  if (!queue) return '';
  const entries = [...(queue.running ?? []), ...(queue.waiting ?? [])];
  let minutes = 0;
  /** @type {Map<string, number>} */
  const why = new Map();
  for (const { detail, estimated_start: start } of entries) {
    if (start) minutes += Math.floor(Date.parse(start) / 60_000);
    if (detail) why.set(detail, (why.get(detail) ?? 0) + 1);
  }
  return [queue.revision, minutes, ...[...why].map(([text, n]) => `${n} ${text}`)].join('|');
}

/** What the page shows of a node. */
function nodeState(id) {
  return /** @type {HTMLElement | null} */ (rendered()?.querySelector(`[data-node="${CSS.escape(id)}"]`));
}

/** Keep the page's structure right. */
export function watchStructure() {
  live.subscribe('queue', ({ payload }) => {
    if (queueSignature(payload) !== rendered()?.dataset.queue) refresh();
  });
  live.subscribe('nodes/+/status', ({ topic, payload }) => {
    if (payload && nodeState(topic.split('/')[1])?.dataset.online !== payload.state) refresh();
  });
  live.subscribe('nodes/+/report', ({ topic, payload }) => {
    if (payload && nodeState(topic.split('/')[1])?.dataset.report !== reportSignature(payload)) refresh();
  });
  live.subscribe('nodes/+/channels', ({ topic, payload }) => {
    if (payload && !nodeState(topic.split('/')[1])) refresh();
  });
}
