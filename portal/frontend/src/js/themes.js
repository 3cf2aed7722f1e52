// @ts-check
import { byId, icon, memory } from './dom.js';

const NEXT = { auto: 'light', light: 'dark', dark: 'auto' };
const PICTURE = { auto: 'auto', light: 'sun', dark: 'moon' };
const WORDS = { auto: 'Colours: as the system has them', light: 'Colours: light', dark: 'Colours: dark' };

function show(theme) {
  const button = byId('theme');
  if (!button) return;
  button.replaceChildren(icon(PICTURE[theme]));
  button.setAttribute('aria-label', WORDS[theme]);
  button.title = WORDS[theme];
}

function changed() {
  document.dispatchEvent(new CustomEvent('theme'));
}

/** The button that goes through as-the-system, light and dark, and remembers. */
export function themes() {
  const root = document.documentElement;
  show(root.dataset.theme ?? 'auto');
  byId('theme')?.addEventListener('click', () => {
    const theme = NEXT[root.dataset.theme ?? 'auto'];
    if (theme === 'auto') delete root.dataset.theme;
    else root.dataset.theme = theme;
    memory.set('theme', theme === 'auto' ? null : theme);
    show(theme);
    changed();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', changed);
}

/** The colour that an element has now, as canvas understands it. */
export function inkOf(element, property = 'color') {
  return getComputedStyle(element).getPropertyValue(property).trim();
}
