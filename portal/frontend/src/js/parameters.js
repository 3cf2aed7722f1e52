// @ts-check
// A form made from what a script says of its parameters.
import { byId, h, icon } from './dom.js';

/** @typedef {{name: string, default: boolean | number | string, unit?: string, description?: string, minimum?: number | null, maximum?: number | null}} Info */

export class Parameters {
  /** @param {() => void} changed */
  constructor(changed) {
    this.root = byId('parameters');
    /** @type {Info[]} */
    this.infos = [];
    /** What was typed, also for parameters that are not declared at this moment. */
    this.typed = new Map();
    this.shape = '';
    this.root?.addEventListener('input', (event) => {
      const field = /** @type {HTMLInputElement} */ (event.target);
      this.typed.set(field.dataset.parameter, field.type === 'checkbox' ? field.checked : field.value);
      changed();
    });
  }

  /** Values from a draft. */
  restore(values) {
    for (const [name, value] of Object.entries(values)) this.typed.set(name, value);
  }

  /** Build the form; it stays as it is while nothing about it changed. @param {Info[]} infos */
  show(infos) {
    const shape = JSON.stringify(infos);
    if (shape === this.shape) return;
    this.shape = shape;
    this.infos = infos;
    this.root?.replaceChildren(
      ...(infos.length > 0 ? [h('legend', { class: 'label' }, 'Parameters')] : []),
      ...(infos.length > 0 ? [h('div', { class: 'stack tight' }, ...infos.map((info, i) => this.field(info, i)))] : []),
    );
  }

  field(info, index) {
    const id = `parameter-${index}`;
    const value = this.typed.get(info.name) ?? info.default;
    const shared = { id, name: `param.${info.name}`, data: { parameter: info.name }, 'aria-describedby': `${id}-help` };
    const { minimum: low = null, maximum: high = null } = info;
    const range =
      low !== null && high !== null ? `${low} to ${high}` : low !== null ? `at least ${low}` : high !== null ? `at most ${high}` : '';
    const help = h('span', { class: 'help', id: `${id}-help` }, [info.description, range].filter(Boolean).join(' · '));
    if (typeof info.default === 'boolean') {
      return h('div', { class: 'field' }, h('label', { class: 'tick' }, h('input', { ...shared, type: 'checkbox', checked: value === true || value === 'true' }), h('bdi', {}, info.name)), help);
    }
    const numeric = typeof info.default === 'number';
    const input = h('input', {
      ...shared,
      type: numeric ? 'number' : 'text',
      step: numeric ? 'any' : undefined,
      min: low,
      max: high,
      autocomplete: 'off',
      value: String(value),
    });
    return h(
      'div',
      { class: 'field' },
      h('label', { for: id }, h('bdi', {}, info.name)),
      h('div', { class: 'with-unit' }, input, info.unit ? h('span', { class: 'quiet small nowrap' }, info.unit) : null),
      help,
      h('p', { class: 'wrong', hidden: true }, icon('alert'), h('span')),
    );
  }

  /** The values to submit. A number that cannot be read is sent as it was typed: the hub says what is wrong. */
  get values() {
    return Object.fromEntries(
      this.infos.map((info) => {
        const typed = this.typed.get(info.name) ?? info.default;
        if (typeof info.default === 'number') {
          const value = typeof typed === 'number' ? typed : String(typed).trim() === '' ? NaN : Number(typed);
          return [info.name, Number.isFinite(value) ? value : String(typed)];
        }
        if (typeof info.default === 'boolean') return [info.name, typed === true || typed === 'true'];
        return [info.name, String(typed)];
      }),
    );
  }

  /** Show what is wrong beside the field it concerns; returns whether there is such a field. */
  wrong(name, text) {
    const field = /** @type {HTMLElement | null} */ (this.root?.querySelector(`[data-parameter="${CSS.escape(name)}"]`) ?? null);
    const place = field?.closest('.field')?.querySelector('.wrong');
    if (!field || !place) return false;
    field.setAttribute('aria-invalid', 'true');
    /** @type {HTMLElement} */ (place).hidden = false;
    const words = place.querySelector('span');
    if (words) words.textContent = text;
    return true;
  }

  /** Nothing is wrong any more. */
  right() {
    for (const field of this.root?.querySelectorAll('[aria-invalid]') ?? []) field.removeAttribute('aria-invalid');
    for (const place of this.root?.querySelectorAll('.wrong') ?? []) /** @type {HTMLElement} */ (place).hidden = true;
  }
}
