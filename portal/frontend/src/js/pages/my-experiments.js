// @ts-check
// The filter works as one types; without scripts it is a plain form.
import '../common.js';
import { byId } from '../dom.js';
import { refresh } from '../regions.js';

const form = /** @type {HTMLFormElement} */ (byId('filters'));
let timer = 0;

function apply() {
  const query = new URLSearchParams();
  for (const [key, value] of new FormData(form)) if (value !== '') query.append(key, String(value));
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
