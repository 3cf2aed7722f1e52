// @ts-check
/** Make an element. Properties that start with `on` are listeners, `data` is the dataset. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key === 'data') Object.assign(element.dataset, value);
    else if (key in element && key !== 'list' && typeof value !== 'string') element[key] = value;
    else element.setAttribute(key, value === true ? '' : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = 'http://www.w3.org/2000/svg';

/** One icon of the set. */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `${document.documentElement.dataset.icons}#${name}`);
  svg.append(use);
  return svg;
}

/** Text in a direction of its own, so that names cannot turn their surroundings around. */
export function bdi(text) {
  return h('bdi', {}, text);
}

/** The element with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * Whether somebody writes in a field: its value is theirs. Of anything else that has the focus, a
 * dialog's heading or a button, idiomorph would leave what stands in it as it was.
 */
export function isWriting() {
  return document.activeElement?.matches('input, textarea, select') ?? false;
}

/** Data that the server put into the page as JSON. */
export function pageData(id) {
  const element = byId(id);
  return element ? JSON.parse(element.textContent ?? 'null') : null;
}

/** Set text only where it differs, so that nothing is laid out in vain. */
export function setText(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

/** Remember a value in this browser; forgetting it is no error. */
export const memory = {
  get(key) {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  },
  set(key, value) {
    try {
      if (value === null) localStorage.removeItem(key);
      else localStorage.setItem(key, value);
    } catch {
      // Full or forbidden: the page works without.
    }
  },
};
