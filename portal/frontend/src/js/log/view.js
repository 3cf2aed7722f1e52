// @ts-check
// Shows lines in a box that scrolls. They stand in blocks of a hundred; only blocks near what is
// seen have rows, the others keep their height alone. So fifty thousand lines cost no more than
// a few hundred.
import { h, icon } from '../dom.js';
import { moment } from '../format.js';
import { pieces } from './ansi.js';
import { cuts } from './logbook.js';

/** @typedef {import('./logbook.js').Line} Line */
/** @typedef {import('./logbook.js').Hole} Hole */
/** @typedef {{element: HTMLElement, lines: Line[], filled: boolean}} Block */

const BLOCK = 100;
const ROW = 20;
/** Characters of a line that are shown; more when somebody asks, and the rest is in the file. */
const BRIEF = 2000;
const LONG = 100_000;

export class LogView {
  /**
   * @param {HTMLElement} list @param {import('./logbook.js').Logbook} book
   * @param {(hole: Hole, button: HTMLButtonElement) => void} fill
   * @param {() => void} sized called when rows have taken the place of a height that was guessed
   */
  constructor(list, book, fill, sized) {
    this.list = list;
    this.book = book;
    this.fill = fill;
    /** Whether the book has only some lines: then what lies between them is not missing. */
    this.sparse = false;
    this.wanted = '';
    /** The number of the hit that one stands on; 0: none. */
    this.current = 0;
    /** @type {Block[]} */
    this.blocks = [];
    /** @type {WeakMap<Element, Block>} */
    this.of = new WeakMap();
    /** @type {Set<number>} lines that are shown in full */
    this.open = new Set();
    this.empty = h('p', { class: 'empty slim' }, 'Nothing written yet.');
    this.near = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const block = this.of.get(target);
        if (block) this.turn(block, isIntersecting);
      }
      sized();
    }, { root: list, rootMargin: '1200px 0px' });
  }

  /** Build everything anew. @param {number} anchor the line that stays where it is */
  rebuild(anchor = 0) {
    const before = anchor ? this.offset(anchor) : 0;
    this.near.disconnect();
    this.blocks = [];
    const { first } = this.book;
    /** @type {HTMLElement[]} */
    const elements = [];
    if (first > 1 && !this.sparse) elements.push(this.hole({ from: 1, upto: first - 1 }));
    let lines = [];
    let last = first - 1;
    const close = () => {
      if (lines.length > 0) elements.push(this.block(lines).element);
      lines = [];
    };
    for (const line of this.book.lines) {
      if (line.n > last + 1 && !this.sparse) {
        close();
        elements.push(this.hole({ from: last + 1, upto: line.n - 1 }));
      }
      last = line.n;
      if (lines.push(line) === BLOCK) close();
    }
    close();
    this.empty.hidden = elements.length > 0;
    this.empty.textContent = this.sparse ? 'Nothing of this kind.' : 'Nothing written yet.';
    this.list.replaceChildren(...elements, this.empty);
    for (const { element } of this.blocks) this.near.observe(element);
    if (anchor) this.list.scrollTop += this.offset(anchor) - before;
  }

  /** @param {Line[]} lines */
  block(lines) {
    const element = h('div', { class: 'block' });
    element.style.blockSize = `${lines.length * ROW}px`;
    const block = { element, lines, filled: false };
    this.blocks.push(block);
    this.of.set(element, block);
    return block;
  }

  /** Add lines that stand at the log's end. @param {Line[]} lines */
  append(lines) {
    for (const line of lines) {
      let block = this.blocks.at(-1);
      const joins = block && block.lines.length < BLOCK && this.list.lastElementChild?.previousElementSibling === block.element;
      if (!block || !joins || !this.follows(line)) {
        if (this.book.lines.length > 1 && !this.follows(line)) this.empty.before(this.hole({ from: this.previous(line) + 1, upto: line.n - 1 }));
        block = this.block([]);
        this.empty.before(block.element);
        this.turn(block, true);
        this.near.observe(block.element);
      }
      block.lines.push(line);
      if (block.filled) block.element.append(this.row(line));
      else block.element.style.blockSize = `${block.lines.length * ROW}px`;
    }
    if (this.blocks.length > 0) this.empty.hidden = true;
  }

  previous(line) {
    return this.book.lines[this.book.place(line.n) - 1]?.n ?? line.n - 1;
  }

  follows(line) {
    return this.sparse || this.previous(line) === line.n - 1;
  }

  /** Give a block its rows, or take them away. @param {Block} block @param {boolean} on */
  turn(block, on) {
    if (block.filled === on) return;
    block.filled = on;
    if (on) {
      block.element.replaceChildren(...block.lines.map((line) => this.row(line)));
      block.element.style.blockSize = '';
    } else {
      block.element.style.blockSize = `${block.element.offsetHeight}px`;
      block.element.replaceChildren();
    }
  }

  /** @param {Hole} hole */
  hole(hole) {
    const count = hole.upto - hole.from + 1;
    const words = hole.from === 1 ? 'Older lines' : `${count.toLocaleString('en')} line${count === 1 ? '' : 's'} between`;
    if (hole.from === 1 && this.book.full) return h('p', { class: 'hole quiet small' }, 'Older lines are in the downloaded log.');
    const button = h('button', { class: 'btn mini', type: 'button', onclick: () => this.fill(hole, /** @type {HTMLButtonElement} */ (button)) }, icon(hole.from === 1 ? 'up' : 'more'), words);
    return h('p', { class: 'hole' }, button);
  }

  /** @param {Line} line */
  row({ n, t, source, text }) {
    const short = text.length > BRIEF && !this.open.has(n);
    const shown = short ? text.slice(0, BRIEF) : text.slice(0, LONG);
    const words = h('span', { class: 'text' }, ...pieces(shown).flatMap((piece) => this.spans(piece)));
    if (short || text.length > LONG) {
      const left = (text.length - shown.length).toLocaleString('en');
      words.append(short
        ? h('button', { class: 'btn mini', type: 'button', onclick: () => this.expand(n) }, `${left} characters more`)
        : h('span', { class: 'quiet' }, ` … ${left} characters more are in the downloaded log.`));
    }
    const row = h('div', { class: n === this.current ? `${source} current` : source, data: { n } }, h('time', { datetime: t }, moment(new Date(t), 'second')), words);
    return row;
  }

  /** @param {import('./ansi.js').Piece} piece */
  spans({ text, look }) {
    return cuts(text, this.wanted).map(({ text: part, hit }) => {
      const made = hit ? h('mark', {}, part) : part;
      return look ? h('span', { class: look }, made) : made;
    });
  }

  expand(n) {
    this.open.add(n);
    if (this.open.size > BLOCK) this.open.delete(/** @type {number} */ (this.open.values().next().value));
    this.list.querySelector(`[data-n="${n}"]`)?.replaceWith(this.row(this.book.lines[this.book.place(n)]));
  }

  /** Write the rows that are there once more: what is searched has changed. */
  mark() {
    for (const block of this.blocks) {
      if (block.filled) block.element.replaceChildren(...block.lines.map((line) => this.row(line)));
    }
  }

  toEnd() {
    this.list.scrollTop = this.list.scrollHeight;
  }

  /** The number of the first line that is seen. */
  get top() {
    const edge = this.list.getBoundingClientRect().top;
    for (const { element, filled, lines } of this.blocks) {
      if (element.getBoundingClientRect().bottom < edge) continue;
      if (!filled) return lines[0].n;
      for (const row of element.children) if (row.getBoundingClientRect().bottom > edge) return Number(/** @type {HTMLElement} */ (row).dataset.n);
    }
    return 0;
  }

  blockOf(n) {
    return this.blocks.find(({ lines }) => lines.length > 0 && lines[0].n <= n && lines[lines.length - 1].n >= n);
  }

  /** How far below the box's upper edge a line stands. */
  offset(n) {
    const block = this.blockOf(n);
    if (!block) return 0;
    this.turn(block, true);
    const row = block.element.querySelector(`[data-n="${n}"]`) ?? block.element;
    return row.getBoundingClientRect().top - this.list.getBoundingClientRect().top;
  }

  /** Bring a line into the middle of the box. */
  reveal(n) {
    this.mark();
    const block = this.blockOf(n);
    if (!block) return;
    this.turn(block, true);
    // Twice: what comes into view beside it may be higher than was thought.
    for (let i = 0; i < 2; i += 1) this.list.scrollTop += this.offset(n) - this.list.clientHeight / 2;
  }
}
