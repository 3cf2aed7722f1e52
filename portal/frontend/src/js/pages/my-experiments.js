// @ts-check
// The filter works as one types; without scripts it is a plain form.
import { live } from '../common.js';
import { takeAnnotation } from '../annotation.js';
import { byId } from '../dom.js';
import { takeKept } from '../kept.js';
import { refresh } from '../regions.js';

/** A page shows so many; some subscriptions are left for the rest of it. */
const MOST_WATCHED = 50;

const form = /** @type {HTMLFormElement} */ (byId('filters'));
let timer = 0;

function apply() {
  const query = new URLSearchParams();
  for (const [key, value] of new FormData(form)) {
    if (value !== '' && !(key === 'scope' && value === 'mine')) query.append(key, String(value));
  }
  const text = query.toString();
  history.replaceState(null, '', text ? `${location.pathname}?${text}` : location.pathname);
  refresh();
}

form.addEventListener('input', () => {
  clearTimeout(timer);
  timer = window.setTimeout(apply, 200);
});
form.addEventListener('submit', (event) => {
  event.preventDefault();
  apply();
});

/** @type {Map<string, () => void>} */
const watched = new Map();

/** Follow what the list shows: a name or a note may change long after an experiment's end. */
function watch() {
  const rows = /** @type {HTMLElement[]} */ ([...document.querySelectorAll('[data-run]')]).slice(0, MOST_WATCHED);
  const wanted = new Set(rows.map((row) => row.dataset.run ?? ''));
  for (const [id, stop] of watched) {
    if (!wanted.has(id)) {
      stop();
      watched.delete(id);
    }
  }
  for (const id of wanted) {
    if (watched.has(id)) continue;
    watched.set(id, live.subscribe(`experiments/${id}`, ({ payload }) => {
      const shown = /** @type {HTMLElement | null} */ (document.querySelector(`[data-run="${CSS.escape(id)}"]`));
      if (shown && (!payload || payload.revision > Number(shown.dataset.revision))) refresh();
    }));
  }
}

document.addEventListener('regions', watch);
watch();
takeAnnotation();
takeKept();
