// @ts-check
// What differs between two scripts, line by line.

const MOST = 3000;

/**
 * @param {string[]} before @param {string[]} after
 * @returns {{kind: 'same' | 'less' | 'more', text: string}[]}
 */
export function lineDiff(before, after) {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start += 1;
  let [end, stop] = [before.length, after.length];
  while (end > start && stop > start && before[end - 1] === after[stop - 1]) [end, stop] = [end - 1, stop - 1];
  const same = (line) => ({ kind: /** @type {const} */ ('same'), text: line });
  return [
    ...before.slice(0, start).map(same),
    ...middle(before.slice(start, end), after.slice(start, stop)),
    ...before.slice(end).map(same),
  ];
}

function middle(before, after) {
  const less = (text) => ({ kind: /** @type {const} */ ('less'), text });
  const more = (text) => ({ kind: /** @type {const} */ ('more'), text });
  if (before.length * after.length > MOST * MOST) return [...before.map(less), ...after.map(more)];
  // The longest common subsequence, from the end: length[i][j] of what begins at i and j.
  const wide = after.length + 1;
  const length = new Uint16Array((before.length + 1) * wide);
  for (let i = before.length - 1; i >= 0; i -= 1) {
    for (let j = after.length - 1; j >= 0; j -= 1) {
      length[i * wide + j] = before[i] === after[j] ? length[(i + 1) * wide + j + 1] + 1 : Math.max(length[(i + 1) * wide + j], length[i * wide + j + 1]);
    }
  }
  const found = [];
  let [i, j] = [0, 0];
  while (i < before.length && j < after.length) {
    if (before[i] === after[j]) {
      found.push({ kind: /** @type {const} */ ('same'), text: before[i] });
      i += 1;
      j += 1;
    } else if (length[(i + 1) * wide + j] >= length[i * wide + j + 1]) found.push(less(before[i++]));
    else found.push(more(after[j++]));
  }
  return [...found, ...before.slice(i).map(less), ...after.slice(j).map(more)];
}

/** Only what differs, with some lines around it. @param {ReturnType<typeof lineDiff>} lines */
export function hunks(lines, around = 3) {
  const near = lines.map(() => false);
  lines.forEach(({ kind }, i) => {
    if (kind !== 'same') near.fill(true, Math.max(0, i - around), i + around + 1);
  });
  /** @type {({kind: 'same' | 'less' | 'more' | 'skip', text: string})[]} */
  const found = [];
  lines.forEach((line, i) => {
    if (near[i]) found.push(line);
    else if (i === 0 || near[i - 1]) found.push({ kind: 'skip', text: '⋯' });
  });
  return found;
}
