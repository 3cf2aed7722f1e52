// @ts-check
// The container's use of CPU and memory, each second.
import { setText } from './dom.js';
import { bytes } from './format.js';

/** @param {{payload: any, topic: string}} frame a node's report */
export function showContainer({ topic, payload }) {
  const container = payload?.container;
  const card = container && document.querySelector(`[data-container="${CSS.escape(topic.split('/')[1])}"]`);
  if (!card) return;
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
}
