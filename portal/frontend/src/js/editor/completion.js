// @ts-check
// What the SDK offers, for completion while one writes.

const EXPERIMENT = [
  ['every', '(seconds=60)', 'Go round once in so many seconds of the reactor’s clock'],
  ['parameters', '', 'The parameters, current while it runs'],
  ['record', '(od=od)', 'Record own values: they become series on the page'],
  ['save', '("summary.json", {})', 'Save a file into the results'],
  ['log', '("")', 'Write a line to the log'],
  ['elapsed', '', 'Seconds since the start, by the reactor’s clock'],
  ['clock', '', 'The reactor’s clock'],
  ['sleep', '(60)', 'Sleep by the reactor’s clock'],
  ['messages', '()', 'What was sent to the script since the last look'],
];
const REACTOR = [
  ['read', '("od")', 'The newest value of a channel'],
  ['read_all', '()', 'The newest values of all channels'],
  ['set', '("temperature-setpoint", 37.0)', 'Set a setpoint, or an output for some seconds'],
  ['dose', '("media", ml=1.0)', 'Pump a volume and say what was delivered'],
  ['channels', '()', 'The channels with units and limits'],
];

const options = (list) =>
  list.map(([label, call, info]) => ({ label, apply: label + call, detail: call, info, type: call ? 'function' : 'property', boost: 10 }));
const MEMBERS = { experiment: options(EXPERIMENT), reactor: options(REACTOR) };

/** A completion source; `channels` returns the names of the channels that exist. */
export function completeSdk(channels) {
  return (context) => {
    const member = context.matchBefore(/\b(?:experiment|reactor)\.\w*/);
    if (member) {
      const [object] = member.text.split('.');
      return { from: member.from + object.length + 1, options: MEMBERS[object], validFor: /^\w*$/ };
    }
    const channel = context.matchBefore(/reactor\.(?:read|set|dose)\(["'][\w-]*/);
    if (channel) {
      const start = channel.text.search(/["']/) + 1;
      return {
        from: channel.from + start,
        options: channels().map(({ name, label, unit }) => ({ label: name, detail: unit, info: label, type: 'constant' })),
        validFor: /^[\w-]*$/,
      };
    }
    return null;
  };
}
