// @ts-check
// The container's use of CPU and memory, each second, and how that went in the last minutes.
import { call } from '../api.js';
import { setText } from '../dom.js';
import { bytes, span } from '../format.js';
import { feedSparks, loadSparks } from '../sparks.js';

const CURVES = { 'container.cpu_percent': 'cpu_percent', 'container.memory': 'memory' };
const WINDOW = 20 * 60;

let loaded = '';

/** What is on record of the last minutes; without it the curves begin now. */
async function load(node) {
  if (loaded === node || !document.querySelector('[data-container]')) return;
  loaded = node;
  const wanted = Object.keys(CURVES).map((name) => `channel=${name}`).join('&');
  const start = (Date.now() / 1000 - WINDOW).toFixed(0);
  const history = await call(`/api/nodes/${node}/history?${wanted}&start=${start}&points=200`).catch(() => null);
  if (history) loadSparks(`@${node}`, Object.fromEntries(Object.entries(CURVES).flatMap(([name, field]) => (history.traces[name] ? [[field, history.traces[name]]] : []))));
  else loaded = '';
}

/** @param {{payload: any, topic: string}} frame a node's report */
export function showContainer({ topic, payload }) {
  const node = topic.split('/')[1];
  const container = payload?.container;
  const card = container && document.querySelector(`[data-container="${CSS.escape(node)}"]`);
  if (!card) return;
  load(node);
  const part = (name) => card.querySelector(`[data-part="${name}"]`);
  const meter = (name, value) => {
    const element = /** @type {HTMLMeterElement | null} */ (part(name));
    if (element) element.value = value;
  };
  setText(part('cpu'), `${container.cpu_percent.toFixed(0)} %`);
  meter('cpu-meter', container.cpu_percent);
  setText(part('memory'), bytes(container.memory));
  meter('memory-meter', container.memory);
  setText(part('pids'), String(container.pids));
  setText(part('results'), bytes(container.results_bytes ?? 0));
  setText(part('log'), bytes(container.log_bytes ?? 0));
  setText(part('uptime'), span(container.uptime));
  feedSparks(`@${node}`, [{ t: payload.at, values: { cpu_percent: container.cpu_percent, memory: container.memory } }]);
}
