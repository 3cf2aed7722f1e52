// @ts-check
// Which lines share a panel: what measures the same quantity in the same unit, and its setpoint.

/**
 * `least`: a setpoint below it is off, and no line is drawn.
 * @typedef {{name: string, label: string, ink: string, dashed: boolean, stepped: boolean, precision: number | null, least: number}} Line
 * @typedef {{key: string, title: string, unit: string, lines: Line[], rank: number}} Group
 */

const EXTRA = ['--s-1', '--s-2', '--s-4', '--s-3', '--s-5', '--s-6'];
const RANK = { sensor: 0, setpoint: 2, actuator: 3, pump: 4 };

function keyOf(channel) {
  if (channel.kind === 'pump') return 'pumps';
  if (channel.kind === 'actuator' || channel.quantity === 'other') return `channel ${channel.name}`;
  return `${channel.quantity} ${channel.unit}`;
}

/**
 * Panels for a node's channels, in the order in which people want them.
 * @param {{name: string, label: string, kind: string, quantity: string, unit: string, precision: number, limits?: {minimum?: number | null}}[]} channels
 * @returns {Group[]}
 */
export function groupChannels(channels) {
  /** @type {Map<string, Group>} */
  const groups = new Map();
  for (const channel of channels) {
    const key = keyOf(channel);
    const rank = /** @type {number} */ (RANK[channel.kind] ?? 5);
    let group = groups.get(key);
    if (!group) {
      const title = channel.kind === 'pump' ? 'Pumps' : channel.label;
      group = { key, title, unit: channel.unit === '1' ? '' : channel.unit, lines: [], rank };
      groups.set(key, group);
    }
    if (rank < group.rank) Object.assign(group, { rank, title: channel.label });
    const dashed = channel.kind === 'setpoint' && group.lines.length > 0;
    const own = group.lines.filter((line) => !line.dashed).length;
    const base = `--q-${channel.quantity.replaceAll('_', '-')}`;
    group.lines.push({
      name: channel.name,
      label: channel.label,
      ink: own === 0 || dashed ? base : EXTRA[(own - 1) % EXTRA.length],
      dashed,
      stepped: channel.kind !== 'sensor',
      precision: channel.precision,
      least: channel.kind === 'setpoint' ? (channel.limits?.minimum ?? -Infinity) : -Infinity,
    });
  }
  return [...groups.values()].sort((a, b) => a.rank - b.rank);
}

/** How the history names the author's own series, so that they differ from channels. */
export const SERIES = 'series.';

/**
 * The panel of one of the author's own series, or of a channel that the node no longer has.
 * @param {string} name as in the history @param {number} index @returns {Group}
 */
export function groupSeries(name, index) {
  const label = name.startsWith(SERIES) ? name.slice(SERIES.length) : name;
  const line = { name, label, ink: EXTRA[index % EXTRA.length], dashed: false, stepped: false, precision: null, least: -Infinity };
  return { key: `own ${name}`, title: label, unit: '', lines: [line], rank: 1 };
}
