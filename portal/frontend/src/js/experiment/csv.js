// @ts-check
// Reads the head of a CSV file, as spreadsheets write it.

/** The separator that a head seems to have. */
function separator(line) {
  const count = (mark) => line.split(mark).length;
  return [',', ';', '\t'].reduce((best, mark) => (count(mark) > count(best) ? mark : best), ',');
}

/**
 * The first rows of a text. A last row that was cut short is left out.
 * @param {string} text @param {number} most rows @param {boolean} whole whether the text is the whole file
 * @returns {string[][]}
 */
export function rowsOf(text, most, whole = true) {
  const mark = separator(text.slice(0, 4000).replace(/"[^"]*"/g, '').split('\n', 1)[0]);
  /** @type {string[][]} */
  const rows = [];
  let row = [];
  let field = '';
  let quoted = false;
  let ended = true;
  const plain = text.replace(/^\ufeff/, '');
  for (let i = 0; i < plain.length && rows.length < most; i += 1) {
    const letter = plain[i];
    ended = false;
    if (quoted) {
      if (letter !== '"') field += letter;
      else if (plain[i + 1] === '"') field += plain[(i += 1)];
      else quoted = false;
    } else if (letter === '"' && field === '') quoted = true;
    else if (letter === mark) {
      row.push(field);
      field = '';
    } else if (letter === '\n') {
      row.push(field.replace(/\r$/, ''));
      rows.push(row);
      row = [];
      field = '';
      ended = true;
    } else field += letter;
  }
  if (!ended && whole && rows.length < most) rows.push([...row, field.replace(/\r$/, '')]);
  return rows;
}
