// @ts-check
// What terminals make of a line: colours are kept as names, everything that would move a cursor,
// set a title or ring a bell is left out.

/** @typedef {{text: string, look: string}} Piece `look`: classes, separated by spaces */

const CODES = /\u001b(?:\[([0-?]*)[ -/]*([@-~])|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\-_])/g;
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;
const COLOURS = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white'];

/** @param {Map<string, string>} state */
function apply(state, parameters) {
  const numbers = (parameters || '0').split(/[;:]/).map(Number);
  for (let i = 0; i < numbers.length; i += 1) {
    const n = numbers[i];
    if (n === 0) state.clear();
    else if (n === 1) state.set('weight', 'bold');
    else if (n === 2) state.set('weight', 'dim');
    else if (n === 3) state.set('slant', 'italic');
    else if (n === 4) state.set('line', 'underline');
    else if (n === 22) state.delete('weight');
    else if (n === 23) state.delete('slant');
    else if (n === 24) state.delete('line');
    else if (n >= 30 && n <= 37) state.set('ink', COLOURS[n - 30]);
    else if (n >= 90 && n <= 97) state.set('ink', COLOURS[n - 90]);
    else if (n === 39) state.delete('ink');
    else if (n === 38 || n === 48) i += numbers[i + 1] === 5 ? 2 : 4;
  }
}

/** A line in pieces that each have one look. @returns {Piece[]} */
export function pieces(text) {
  /** @type {Map<string, string>} */
  const state = new Map();
  /** @type {Piece[]} */
  const found = [];
  let end = 0;
  const add = (part) => {
    const plain = part.replace(CONTROL, '\ufffd');
    const look = [...state.values()].map((name) => `ansi-${name}`).join(' ');
    const last = found.at(-1);
    if (last && last.look === look) last.text += plain;
    else if (plain) found.push({ text: plain, look });
  };
  for (const match of text.matchAll(CODES)) {
    add(text.slice(end, match.index));
    if (match[2] === 'm') apply(state, match[1]);
    end = match.index + match[0].length;
  }
  add(text.slice(end));
  return found;
}

/** The text alone. */
export function plain(text) {
  return text.replace(CODES, '').replace(CONTROL, '\ufffd');
}
