// @ts-check
// Says at once what portal and hub would say of a parameter: `portal/upload_form.py` and
// `hub_service/scripts/parameters.py`. The same cases are tested at both ends.
import { h, icon } from './dom.js';

const NUMBER = /^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$/;
const DIGITS = 6;

/** A number with no more digits than it needs, as Python's %g. @param {number} value */
export function shortest(value) {
  if (value === 0) return '0';
  const [mantissa, exponent] = value.toExponential(DIGITS - 1).split('e');
  const power = Number(exponent);
  if (power >= -4 && power < DIGITS) return String(Number(value.toPrecision(DIGITS)));
  return `${Number(mantissa)}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`;
}

/**
 * What is wrong with a text, empty if nothing is. An empty text stands for the default.
 * @param {{kind?: string, min?: string, max?: string, unit?: string}} declared @param {string} given
 */
export function complaint({ kind, min, max, unit }, given) {
  const text = given.trim();
  if (kind !== 'number' || text === '') return '';
  if (!NUMBER.test(text)) return `A number is wanted${text.includes(',') ? ', with a point in place of the comma' : ''}.`;
  const value = Number(text);
  if (!Number.isFinite(value)) return 'A smaller number is wanted.';
  const of = unit ? ` ${unit}` : '';
  if (min !== undefined && value < Number(min)) return `${shortest(value)} is too small. Give at least ${shortest(Number(min))}${of}.`;
  if (max !== undefined && value > Number(max)) return `${shortest(value)} is too large. Give at most ${shortest(Number(max))}${of}.`;
  return '';
}

/** The field that a parameter's element belongs to. @returns {HTMLElement | null} */
const fieldOf = (element) => element.closest('.parameter');

function judge(input) {
  const field = fieldOf(input);
  const place = field?.querySelector('.complaint');
  if (!field || !place) return;
  const text = complaint(field.dataset, input.value);
  input.toggleAttribute('aria-invalid', false);
  if (text) input.setAttribute('aria-invalid', 'true');
  const shown = text ? [h('p', { class: 'wrong', id: `wrong-${input.id}` }, icon('alert'), h('span', {}, text))] : [];
  place.replaceChildren(...shown);
  input.setAttribute('aria-describedby', `${input.id}-help ${input.id}-wrong`);
  const reset = /** @type {HTMLElement | null} */ (field.querySelector('[data-reset]'));
  if (reset) reset.hidden = input.value === field.dataset.default;
}

/** Judge all that the portal has not complained of. @param {HTMLElement} root */
export function judgeAll(root) {
  for (const input of root.querySelectorAll('.parameter input[type="text"]:not([aria-invalid])')) judge(input);
}

/** Judge what is typed, and take it back to its default where that is asked. @param {HTMLElement} root */
export function takeParameters(root) {
  root.addEventListener('input', ({ target }) => {
    if (target instanceof HTMLInputElement || target instanceof HTMLSelectElement) judge(target);
  });
  root.addEventListener('click', (event) => {
    const field = /** @type {Element} */ (event.target).closest('[data-reset]') && fieldOf(event.target);
    const input = /** @type {HTMLInputElement | null} */ (field?.querySelector('input[type="text"], select') ?? null);
    if (!field || !input) return;
    input.value = field.dataset.default ?? '';
    input.focus();
    input.dispatchEvent(new Event('input', { bubbles: true }));
  });
}

/** What was typed, by name: also what the script does not declare now. @param {HTMLElement} root */
export function typedIn(root) {
  /** @type {Record<string, string>} */
  const typed = {};
  for (const input of root.querySelectorAll('input[name^="param."], select[name^="param."]')) {
    const { name, value, type, checked } = /** @type {HTMLInputElement} */ (input);
    if (type !== 'checkbox' || checked) typed[name.slice('param.'.length)] = value;
  }
  return typed;
}

/** Have what was typed earlier sent with the next check, which makes the fields. @param {HTMLElement} root */
export function restoreIn(root, typed) {
  root.replaceChildren(...Object.entries(typed).map(([name, value]) => h('input', { type: 'hidden', name: `param.${name}`, value })));
}
