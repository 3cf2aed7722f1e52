// @ts-check
// Asks on which reactor something shall run now, and says plainly what that would stop.
import { post } from './api.js';
import { ask } from './ask.js';
import { carryOut } from './commands.js';
import { bdi, h } from './dom.js';
import { live } from './live.js';

/** The reactors that are online, with what the queue says runs there. */
function reactors() {
  const running = live.latest.get('queue')?.running ?? [];
  const found = [];
  for (const [topic, channels] of live.latest) {
    const match = /^nodes\/([^/]+)\/channels$/.exec(topic);
    if (!match || live.latest.get(`nodes/${match[1]}/status`)?.state !== 'online') continue;
    found.push({
      id: match[1],
      label: channels.label,
      entry: running.find((entry) => entry.node === match[1]),
    });
  }
  return found.sort((a, b) => a.id.localeCompare(b.id));
}

function option(value, checked, ...content) {
  return h('label', { class: 'tick' }, h('input', { type: 'radio', name: 'node', value, checked }), h('span', {}, ...content));
}

/** @param {HTMLFormElement} form */
async function runNow(form) {
  const nodes = reactors();
  const stop = h('input', { type: 'checkbox' });
  const stopWords = h('span', {});
  const stopLine = h('label', { class: 'tick alarm', hidden: true }, stop, stopWords);
  const choices = h(
    'fieldset',
    { class: 'stack tight' },
    option('', true, 'The first free reactor'),
    ...nodes.map(({ id, label, entry }) =>
      option(id, false, bdi(label), entry ? ' – runs ' : ' – free', entry ? bdi(`“${entry.name}” by ${entry.owner}`) : ''),
    ),
  );
  const chosen = () => nodes.find(({ id }) => id === choices.querySelector('input:checked')?.value);
  choices.addEventListener('change', () => {
    const entry = chosen()?.entry;
    stopLine.hidden = !entry;
    stop.checked = false;
    stopWords.replaceChildren(...(entry ? ['Cancel ', bdi(`“${entry.name}”`), ', which runs there now. It is not queued again.'] : []));
  });
  const yes = await ask({
    title: `Run “${form.dataset.name}” now?`,
    text: 'It goes to the front of the queue, before everybody who waits.',
    ok: 'Run now',
    more: h('div', { class: 'stack tight' }, choices, stopLine),
  });
  if (!yes) return;
  const node = chosen();
  await carryOut(
    () => post(`/api/experiments/${form.dataset.runNow}/run-now`, { ...(node ? { node: node.id } : {}), stop_running: stop.checked }),
    form.querySelector('button'),
  );
}

/** Take over every form marked `data-run-now`. */
export function takeRunNow() {
  document.addEventListener('submit', (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    if (form.dataset.runNow === undefined) return;
    event.preventDefault();
    runNow(form);
  });
}
