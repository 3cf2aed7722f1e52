// @ts-check
// Parameters of what runs: sent without leaving the page, and never over what somebody else has
// changed meanwhile.
import { post } from '../api.js';
import { carryOut } from '../commands.js';
import { h, icon } from '../dom.js';

const FIELD = 'param.';
const SHOWN = 'shown.';

function formOf() {
  return /** @type {HTMLFormElement | null} */ (document.getElementById('parameters-form'));
}

/** @typedef {HTMLInputElement | HTMLSelectElement} Field */

/** @param {HTMLFormElement} form @returns {{name: string, field: Field, shown: HTMLInputElement}[]} */
function fieldsOf(form) {
  return [...form.querySelectorAll(`[name^="${FIELD}"]`)].map((element) => {
    const field = /** @type {Field} */ (element);
    const name = field.name.slice(FIELD.length);
    return { name, field, shown: /** @type {HTMLInputElement} */ (form.elements.namedItem(SHOWN + name)) };
  });
}

/** A field's text as what the script declares; a number that cannot be read goes as it was typed. */
function typed(field, text) {
  if (field.dataset.kind === 'bool') return text === 'true';
  if (field.dataset.kind !== 'number') return text;
  const value = text.trim() === '' ? NaN : Number(text);
  return Number.isFinite(value) ? value : text;
}

/** What was changed by hand. */
function changed(form) {
  return fieldsOf(form).filter(({ field, shown }) => field.value !== shown.value);
}

/** While something is typed, the page's refresh leaves the form alone. */
function hold(form) {
  const dirty = changed(form);
  const region = /** @type {HTMLElement} */ (form.closest('[data-region]'));
  if (dirty.length > 0) region.dataset.held = '';
  else delete region.dataset.held;
  for (const element of form.querySelectorAll('[data-when="dirty"]')) /** @type {HTMLButtonElement} */ (element).disabled = dirty.length === 0;
  for (const { field, shown } of fieldsOf(form)) field.closest('.field')?.classList.toggle('changed', field.value !== shown.value);
}

function release(form) {
  delete form.closest('[data-region]').dataset.held;
}

/** Say that somebody else has changed what is being changed here. */
function conflict(form, { name, field, shown }, theirs) {
  const place = field.closest('.field')?.querySelector('.clash');
  if (!place) return;
  const take = (value) => {
    shown.value = theirs;
    field.value = value;
    place.replaceChildren();
    hold(form);
  };
  const mine = field.value;
  place.replaceChildren(
    h('p', { class: 'wrong' }, icon('alert'), h('span', {}, 'Somebody else set ', h('bdi', {}, name), ' to ', h('bdi', {}, theirs), ' meanwhile.')),
    h('div', { class: 'row' },
      h('button', { class: 'btn mini', type: 'button', onclick: () => take(theirs) }, 'Take theirs'),
      h('button', { class: 'btn mini', type: 'button', onclick: () => take(mine) }, 'Keep mine')),
  );
}

/** What stands at the hub now. @param {Record<string, unknown>} parameters */
export function tellParameters(parameters) {
  const form = formOf();
  if (!form) return;
  for (const each of changed(form)) {
    const theirs = parameters[each.name];
    if (theirs === undefined || typed(each.field, each.shown.value) === theirs) continue;
    if (typed(each.field, each.field.value) === theirs) each.shown.value = each.field.value;
    else conflict(form, each, String(theirs));
  }
}

async function send(form, id, refreshed) {
  const dirty = changed(form);
  if (dirty.length === 0 || !form.reportValidity()) return;
  const parameters = Object.fromEntries(dirty.map(({ name, field }) => [name, typed(field, field.value)]));
  const expected = Object.fromEntries(dirty.map(({ name, field, shown }) => [name, typed(field, shown.value)]));
  const done = await carryOut(() => post(`/api/experiments/${id}/parameters`, { parameters, expected }), form.querySelector('button[type="submit"], button:not([type])'));
  if (!done) return;
  for (const { field, shown } of dirty) shown.value = field.value;
  release(form);
  hold(form);
  refreshed();
}

/** Take over the form. @param {string} id of the experiment @param {() => void} refreshed called when some were sent */
export function takeParameters(id, refreshed) {
  document.addEventListener('input', (event) => {
    const form = /** @type {HTMLElement} */ (event.target).closest?.('#parameters-form');
    if (form) hold(form);
  });
  document.addEventListener('submit', (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    if (form.id !== 'parameters-form') return;
    event.preventDefault();
    send(form, id, refreshed);
  });
  document.addEventListener('reset', (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    if (form.id !== 'parameters-form') return;
    event.preventDefault();
    for (const { field, shown } of fieldsOf(form)) field.value = shown.value;
    for (const place of form.querySelectorAll('.clash')) place.replaceChildren();
    hold(form);
    refreshed();
  });
  document.addEventListener('regions', () => {
    const form = formOf();
    if (form) hold(form);
  });
}
