// @ts-check
// Parameters of what runs: sent without leaving the page, and never over what somebody else has
// changed meanwhile.
import { post } from '../api.js';
import { carryOut } from '../commands.js';
import { h, icon } from '../dom.js';
import { hold } from '../regions.js';

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
function guard(form) {
  const dirty = changed(form);
  hold(form.closest('[data-region]'), dirty.length > 0);
  for (const element of form.querySelectorAll('[data-when="dirty"]')) /** @type {HTMLButtonElement} */ (element).disabled = dirty.length === 0;
  for (const { field, shown } of fieldsOf(form)) field.closest('.field')?.classList.toggle('changed', field.value !== shown.value);
}

/** Where it is said that somebody else has changed what a field has. @returns {HTMLElement | null} */
const clashOf = (field) => field.closest('.field')?.querySelector('.clash') ?? null;

/** Say that somebody else has changed what is being changed here. */
function conflict(form, { name, field, shown }, theirs) {
  const place = clashOf(field);
  if (!place || place.dataset.theirs === theirs) return;
  const take = (mine) => {
    shown.value = theirs;
    if (!mine) field.value = theirs;
    settle(field);
    guard(form);
  };
  place.dataset.theirs = theirs;
  place.replaceChildren(
    h('p', { class: 'wrong' }, icon('alert'), h('span', {}, 'Somebody else set ', h('bdi', {}, name), ' to ', h('bdi', {}, theirs), ' meanwhile.')),
    h('div', { class: 'row' },
      h('button', { class: 'btn mini', type: 'button', onclick: () => take(false) }, 'Take theirs'),
      h('button', { class: 'btn mini', type: 'button', onclick: () => take(true) }, 'Keep mine')),
  );
}

/** There is no such conflict, or none any more. */
function settle(field) {
  const place = clashOf(field);
  place?.replaceChildren();
  delete place?.dataset.theirs;
}

/** What stands at the hub now. @param {Record<string, unknown>} parameters */
export function tellParameters(parameters) {
  const form = formOf();
  if (!form) return;
  for (const each of changed(form)) {
    const theirs = parameters[each.name];
    if (theirs === undefined) continue;
    if (typed(each.field, each.field.value) === theirs) each.shown.value = each.field.value;
    if ([each.field, each.shown].some(({ value }) => typed(each.field, value) === theirs)) settle(each.field);
    else conflict(form, each, String(theirs));
  }
  guard(form);
}

async function send(form, id) {
  const dirty = changed(form);
  if (dirty.length === 0 || !form.reportValidity()) return;
  const parameters = Object.fromEntries(dirty.map(({ name, field }) => [name, typed(field, field.value)]));
  const expected = Object.fromEntries(dirty.map(({ name, field, shown }) => [name, typed(field, shown.value)]));
  const done = await carryOut(() => post(`/api/experiments/${id}/parameters`, { parameters, expected }), form.querySelector('button[type="submit"], button:not([type])'));
  if (!done) return;
  for (const { field, shown } of dirty) shown.value = field.value;
  guard(form);
}

/** Take over the form. @param {string} id of the experiment */
export function takeParameters(id) {
  document.addEventListener('input', (event) => {
    const form = /** @type {HTMLElement} */ (event.target).closest?.('#parameters-form');
    if (form) guard(form);
  });
  document.addEventListener('submit', (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    if (form.id !== 'parameters-form') return;
    event.preventDefault();
    send(form, id);
  });
  document.addEventListener('reset', (event) => {
    const form = /** @type {HTMLFormElement} */ (event.target);
    if (form.id !== 'parameters-form') return;
    event.preventDefault();
    for (const { field, shown } of fieldsOf(form)) {
      field.value = shown.value;
      settle(field);
    }
    guard(form);
  });
  document.addEventListener('regions', () => {
    const form = formOf();
    if (form) guard(form);
  });
}
