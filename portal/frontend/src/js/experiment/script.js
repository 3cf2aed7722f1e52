// @ts-check
// The script as it ran: coloured, copied, compared with another run's.
import { call } from '../api.js';
import { byId, h, setText } from '../dom.js';
import { toast } from '../toasts.js';
import { hunks, lineDiff } from './diff.js';
import { colourScript } from './highlight.js';

const SIGNS = { same: ' ', less: '−', more: '+', skip: ' ' };

async function scriptOf(address) {
  const response = await fetch(address, { signal: AbortSignal.timeout(15_000) });
  if (!response.ok) throw new Error(response.status === 403 ? 'it is not shown to you' : `the portal answered ${response.status}`);
  return response.text();
}

/** Offer other runs as soon as somebody looks there. @param {HTMLSelectElement} select @param {string} id */
async function offer(select, id) {
  if (select.dataset.done !== undefined) return;
  select.dataset.done = '';
  const { experiments } = await call('/api/experiments/user?limit=50').catch(() => ({ experiments: [] }));
  const others = experiments.filter(({ experiment_id: other }) => other !== id);
  select.append(...others.map((e) => h('option', { value: `/api/experiments/${e.experiment_id}/script` }, `${e.name} · ${new Date(e.created_at).toLocaleDateString('en', { month: 'short', day: 'numeric' })}`)));
  if (others.length === 0) select.append(h('option', { disabled: true }, 'You have no other run'));
}

async function compare(select, script) {
  const place = byId('difference');
  if (!place) return;
  if (!select.value) {
    place.replaceChildren();
    return;
  }
  try {
    const other = await scriptOf(select.value);
    const lines = hunks(lineDiff(other.split('\n'), script.split('\n')));
    const any = lines.some(({ kind }) => kind === 'less' || kind === 'more');
    place.replaceChildren(any
      ? h('pre', { class: 'script difference', tabIndex: 0, 'aria-label': 'What differs: minus lines are the other run’s, plus lines this one’s' }, ...lines.map(({ kind, text }) => h('span', { class: kind }, `${SIGNS[kind]} ${text}\n`)))
      : h('p', { class: 'small quiet note' }, 'Both are the same.'));
  } catch (error) {
    setText(place, `It cannot be read: ${error.message}.`);
  }
}

/** @type {HTMLElement | null} */
let taken = null;

/** @param {string} id of the experiment */
function take(id) {
  const fold = byId('script-card');
  if (fold === taken) return;
  taken = fold;
  const place = byId('script');
  const script = place?.textContent ?? '';
  // Colours cost some time for a long script: only when it is looked at.
  fold?.addEventListener('toggle', () => colourScript(place), { once: true });
  byId('copy')?.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(script);
      toast('The script is in the clipboard.');
    } catch {
      getSelection()?.selectAllChildren(/** @type {HTMLElement} */ (place));
      toast('The browser forbids it: the script is marked, copy it with the keyboard.', { bad: true });
    }
  });
  const select = /** @type {HTMLSelectElement | null} */ (byId('compare'));
  select?.addEventListener('focus', () => offer(select, id));
  select?.addEventListener('change', () => compare(select, script));
}

/** Take over the script's card, also one that comes later. @param {string} id of the experiment */
export function takeScript(id) {
  document.addEventListener('regions', () => take(id));
  take(id);
}
