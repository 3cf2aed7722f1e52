// @ts-check
// Which lines are shown: a tick for each, remembered by the browser.
import { byId, h } from '../dom.js';

/** @param {import('./board.js').Board} board */
export function offerLines(board) {
  const place = byId('chooser');
  if (!place) return;
  const list = () => {
    const lines = [...board.panels.values()].sort((a, b) => a.group.rank - b.group.rank).flatMap(({ group }) => group.lines);
    const hidden = lines.filter(({ name }) => board.hidden.has(name)).length;
    const count = byId('chooser-count');
    if (count) count.textContent = hidden > 0 ? `${lines.length - hidden} of ${lines.length}` : '';
    place.replaceChildren(
      h('div', { class: 'row' },
        h('button', { class: 'btn mini', type: 'button', onclick: () => board.hide(lines.map(({ name }) => name), false) }, 'All'),
        h('button', { class: 'btn mini', type: 'button', onclick: () => board.hide(lines.map(({ name }) => name)) }, 'None')),
      ...lines.map((line) => {
        const box = h('input', { type: 'checkbox', checked: !board.hidden.has(line.name), data: { line: line.name }, onchange: () => board.hide([line.name], !box.checked) });
        return h('label', { class: 'tick' }, box, h('bdi', {}, line.label));
      }),
    );
  };
  board.root.addEventListener('panels', () => {
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset?.line;
    list();
    if (focused) /** @type {HTMLElement | null} */ (place.querySelector(`[data-line="${CSS.escape(focused)}"]`))?.focus();
  });
  list();
}
