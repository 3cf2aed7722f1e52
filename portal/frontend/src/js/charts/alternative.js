// @ts-check
// What a chart shows, as a table: for whoever cannot see it, and for who wants the figures.
import { h } from '../dom.js';
import { elapsed } from '../format.js';
import { clockText } from './timebase.js';

const ROWS = 40;
const MARKS = 200;

/** So many of these, evenly spread, the first and the last among them. */
export function spread(indices, most) {
  if (indices.length <= most) return indices;
  return Array.from({ length: most }, (_, i) => indices[Math.round((i * (indices.length - 1)) / (most - 1))]);
}

/** A place on the axis in words. */
export function moment(x, time) {
  return time.clock ? clockText(time.base.wall(x)) : elapsed(x, true);
}

/**
 * A table of the rows between two places, evenly spread where there are many.
 * @param {import('./panel.js').Panel} panel
 */
export function tableOf(panel) {
  const { table, group, board } = panel;
  const [from, to] = board.range();
  const rows = [];
  for (let i = 0; i < table.length; i += 1) if (table.x[i] >= from && table.x[i] <= to) rows.push(i);
  const lines = group.lines.filter(({ name }) => !board.hidden.has(name));
  const shown = spread(rows, ROWS);
  const text = rows.length > ROWS ? `${ROWS} of ${rows.length} readings, evenly spread` : `${rows.length} readings`;
  return h(
    'div',
    { class: 'scroll figures', tabIndex: 0 },
    h(
      'table',
      { class: 'small tnum' },
      h('caption', {}, `${group.title}: ${text}`),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Time'), ...lines.map((line) => h('th', { scope: 'col' }, h('bdi', {}, line.label), group.unit ? ` (${group.unit})` : '')))),
      h('tbody', {}, ...shown.map((row) => h('tr', {}, h('th', { scope: 'row' }, moment(table.x[row], board.time)), ...lines.map((line) => {
        const column = table.names.indexOf(line.name);
        const at = table.valueAt(column, row);
        return h('td', {}, panel.format(line, at < 0 ? null : (table.y[column][at] ?? null)));
      })))),
    ),
  );
}

/** A table of marks, the newest first. @param {import('./marks.js').Mark[]} marks */
export function marksTable(marks, time) {
  const shown = marks.slice(-MARKS).reverse();
  return h(
    'table',
    { class: 'small tnum' },
    h('caption', {}, marks.length > MARKS ? `The last ${MARKS} of ${marks.length}` : `${marks.length} in all`),
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Time'), h('th', { scope: 'col' }, 'What'))),
    h('tbody', {}, ...shown.map(({ x, text }) => h('tr', {}, h('th', { scope: 'row' }, moment(x, time)), h('td', {}, h('bdi', {}, text))))),
  );
}
