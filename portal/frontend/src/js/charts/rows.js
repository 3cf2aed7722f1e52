// @ts-check
// The values that a chart shows, as a file for spreadsheets.

/** A name that every file system takes. */
export function fileName(...parts) {
  return parts.map((part) => String(part).normalize('NFKD').replace(/[^\w.-]+/g, '-').replace(/^-+|-+$/g, '')).filter(Boolean).join('_').slice(0, 120) || 'chart';
}

/** One field of CSV. Text that a spreadsheet would take for a formula is marked as text. */
function field(value) {
  if (value === null || value === undefined) return '';
  const text = typeof value === 'string' && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Rows of CSV. @param {(string | number | null | undefined)[][]} rows */
export function csv(rows) {
  return rows.map((row) => `${row.map(field).join(',')}\r\n`).join('');
}

/**
 * The rows of a chart between two places of its axis.
 * @param {import('./table.js').Table} table @param {[number, number]} range
 * @param {import('./timebase.js').Timebase} base
 */
export function rowsOf(table, [from, to], base) {
  const head = ['elapsed_s', ...(base.known ? ['time'] : []), ...table.names];
  /** @type {(string | number | null | undefined)[][]} */
  const rows = [head];
  for (let i = 0; i < table.length; i += 1) {
    const x = table.x[i];
    if (x < from || x > to) continue;
    const time = base.known ? [new Date(base.wall(x) * 1000).toISOString()] : [];
    rows.push([x, ...time, ...table.y.map((column) => column[i])]);
  }
  return rows;
}
