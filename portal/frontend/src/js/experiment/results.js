// @ts-check
// The head of a result file, fetched when somebody opens it: tables as tables, text as text.
// Pictures are shown by the page itself; nothing here is ever taken for HTML.
import { h, setText } from '../dom.js';
import { rowsOf } from './csv.js';

const HEAD = 64 * 1024;
const ROWS = 30;
const COLUMNS = 40;
const CELL = 200;
const LETTERS = 8000;

async function head(address) {
  const response = await fetch(address, { headers: { Range: `bytes=0-${HEAD - 1}` }, signal: AbortSignal.timeout(30_000) });
  if (!response.ok) throw new Error(`the portal answered ${response.status}`);
  const data = await response.arrayBuffer();
  const whole = response.status !== 206 || data.byteLength < HEAD;
  // A letter that was cut in two at the end is left out.
  return { text: new TextDecoder().decode(data, { stream: !whole }), whole };
}

function table(text, whole, name) {
  const rows = rowsOf(text, ROWS + 1, whole);
  if (rows.length === 0) return h('p', { class: 'quiet small' }, 'The file is empty.');
  const cells = (row, tag) => row.slice(0, COLUMNS).map((cell) => h(tag, tag === 'th' ? { scope: 'col' } : {}, h('bdi', {}, cell.slice(0, CELL))));
  return h(
    'div',
    { class: 'scroll figures', tabIndex: 0 },
    h('table', { class: 'small tnum' }, h('caption', {}, `The first ${rows.length - 1} rows of ${name}`),
      h('thead', {}, h('tr', {}, ...cells(rows[0], 'th'))),
      h('tbody', {}, ...rows.slice(1).map((row) => h('tr', {}, ...cells(row, 'td'))))),
  );
}

function words(text, whole, name) {
  let shown = text;
  if (whole && /\.json$/i.test(name)) {
    try {
      shown = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      // No JSON after all: as it stands.
    }
  }
  const cut = shown.length > LETTERS || !whole;
  return h('pre', { class: 'head-of', tabIndex: 0 }, shown.slice(0, LETTERS) + (cut ? '\n…' : ''));
}

/** @param {HTMLElement} place */
async function show(place) {
  const { src = '', kind, name = '' } = place.dataset;
  if (place.dataset.done !== undefined) return;
  place.dataset.done = '';
  try {
    const { text, whole } = await head(src);
    place.replaceChildren(kind === 'table' ? table(text, whole, name) : words(text, whole, name));
  } catch (error) {
    delete place.dataset.done;
    setText(place, `It cannot be shown now: ${error.message}.`);
  }
}

/** Fill previews as they are opened. */
export function takePreviews() {
  document.addEventListener('toggle', (event) => {
    const details = /** @type {HTMLDetailsElement} */ (event.target);
    if (!details.open || !details.matches?.('.preview')) return;
    const place = /** @type {HTMLElement | null} */ (details.querySelector('[data-src]'));
    if (place) show(place);
  }, true);
}
