// @ts-check
// The log as it is written: follows its end unless one scrolls up, searches, and holds a bounded
// number of lines; older ones are fetched when somebody asks for them.
import { call } from './api.js';
import { byId, h, icon, setText } from './dom.js';
import { moment } from './format.js';

const MOST = 3000;
const PAGE = 500;
/** Colour and cursor codes of terminals say nothing here. */
const ANSI = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g;
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f]/g;

/** Text of a line without what would only move a terminal's cursor. */
export function readable(text) {
  return text.replace(ANSI, '').replace(CONTROL, '\ufffd');
}

export class Console {
  /** @param {string} experimentId */
  constructor(experimentId) {
    this.id = experimentId;
    this.list = /** @type {HTMLElement} */ (byId('lines'));
    this.follow = /** @type {HTMLButtonElement} */ (byId('follow'));
    this.find = /** @type {HTMLInputElement} */ (byId('find'));
    this.found = byId('found');
    this.last = Number(this.list.dataset.last);
    this.waiting = [];
    this.frame = 0;
    this.asking = false;
    this.following = true;
    this.empty = /** @type {HTMLElement} */ (this.list.querySelector('.empty') ?? h('p', { class: 'empty slim' }, 'Nothing written yet.'));
    this.older = h('button', { class: 'btn mini newest', type: 'button', hidden: true, onclick: () => this.fetchOlder() }, icon('up'), 'Older lines');
    for (const line of this.list.querySelectorAll('.text')) line.textContent = readable(line.textContent ?? '');
    this.list.prepend(this.older);
    this.list.append(this.empty);
    this.listen();
    this.settle();
  }

  listen() {
    this.list.addEventListener('scroll', () => {
      const atEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 24;
      this.setFollowing(atEnd);
    }, { passive: true });
    this.follow.addEventListener('click', () => {
      this.setFollowing(!this.following);
      if (this.following) this.toEnd();
    });
    byId('wrap')?.addEventListener('click', (event) => {
      const button = /** @type {HTMLElement} */ (event.currentTarget);
      const off = this.list.classList.toggle('nowrap');
      button.setAttribute('aria-pressed', String(!off));
    });
    this.find.addEventListener('input', () => this.search());
  }

  setFollowing(on) {
    this.following = on;
    this.follow.setAttribute('aria-pressed', String(on));
  }

  toEnd() {
    this.list.scrollTop = this.list.scrollHeight;
  }

  get first() {
    return Number(/** @type {HTMLElement | null} */ (this.list.querySelector('[data-n]'))?.dataset.n ?? 0);
  }

  /** What depends on which lines are here. */
  settle() {
    const { first } = this;
    this.empty.hidden = first > 0;
    this.older.hidden = first <= 1;
    if (this.following) this.toEnd();
  }

  row({ n, t, source, text }) {
    const row = h(
      'div',
      { class: source, data: { n } },
      h('time', { datetime: t, 'data-time': 'second' }, moment(new Date(t), 'second')),
      h('span', { class: 'text' }, readable(text)),
    );
    if (this.find.value) row.classList.toggle('hit', this.hits(row));
    return row;
  }

  /** Add live lines. Where some are missing they are fetched, so that none is lost to the eye. */
  append(lines) {
    for (const line of lines) if (line.n > this.last) this.waiting.push(line);
    if (this.waiting.length > MOST) this.waiting.splice(0, this.waiting.length - MOST);
    if (!this.frame && !document.hidden) this.frame = requestAnimationFrame(() => this.write());
  }

  write() {
    this.frame = 0;
    const lines = this.waiting.sort((a, b) => a.n - b.n);
    this.waiting = [];
    if (lines.length === 0) return;
    if (lines[0].n > this.last + 1) {
      this.waiting = lines;
      this.catchUp();
      return;
    }
    this.put(lines);
  }

  put(lines) {
    const fresh = lines.filter((line) => line.n > this.last && (this.last = line.n));
    this.list.append(...fresh.map((line) => this.row(line)));
    const rows = this.list.querySelectorAll('[data-n]');
    for (let i = 0; i < rows.length - MOST; i += 1) rows[i].remove();
    this.settle();
    if (this.find.value) this.count();
  }

  /** Fetch what came after the last line that is here. */
  async catchUp() {
    if (this.asking) return;
    this.asking = true;
    try {
      for (;;) {
        const page = await this.page(this.last);
        this.put(page.lines);
        if (page.lines.length < PAGE) break;
      }
      // What the hub does not have yet was live already.
      if (this.waiting.length > 0) {
        const lines = this.waiting.sort((a, b) => a.n - b.n);
        this.waiting = [];
        if (lines[0].n > this.last + 1) this.hole(this.last + 1, lines[0].n - 1);
        this.put(lines);
      }
    } catch {
      this.put(this.waiting.splice(0));
    } finally {
      this.asking = false;
    }
  }

  /** Lines that the hub does not have yet. @param {number} from @param {number} upto */
  hole(from, upto) {
    const count = upto - from + 1;
    this.list.append(h('div', { class: 'hole', data: { from, upto } }, `… ${count} line${count === 1 ? '' : 's'} on their way …`));
  }

  /** Fill holes whose lines the hub has by now. */
  async fillHoles() {
    for (const hole of this.list.querySelectorAll('.hole')) {
      const { from, upto } = /** @type {HTMLElement} */ (hole).dataset;
      let next = Number(from);
      const end = Number(upto);
      while (next <= end) {
        const page = await this.page(next - 1);
        const lines = page.lines.filter(({ n }) => n >= next && n <= end);
        if (lines.length === 0) break;
        hole.before(...lines.map((line) => this.row(line)));
        next = lines[lines.length - 1].n + 1;
      }
      if (next > end) hole.remove();
      else Object.assign(/** @type {HTMLElement} */ (hole).dataset, { from: next });
    }
    this.settle();
  }

  page(after) {
    return call(`/api/experiments/${this.id}/logs?after=${after}&limit=${PAGE}`);
  }

  async fetchOlder() {
    const before = this.first;
    const page = await this.page(Math.max(0, before - PAGE - 1)).catch(() => ({ lines: [] }));
    const height = this.list.scrollHeight;
    const rows = page.lines.filter(({ n }) => n < before).map((line) => this.row(line));
    this.setFollowing(false);
    this.older.after(...rows);
    this.list.scrollTop += this.list.scrollHeight - height;
    this.settle();
    if (this.find.value) this.count();
  }

  hits(row) {
    return (row.textContent ?? '').toLowerCase().includes(this.find.value.toLowerCase());
  }

  search() {
    const wanted = this.find.value !== '';
    this.list.classList.toggle('searching', wanted);
    for (const row of this.list.querySelectorAll('[data-n]')) row.classList.toggle('hit', wanted && this.hits(row));
    this.count();
    if (this.following) this.toEnd();
  }

  count() {
    const hits = this.list.querySelectorAll('.hit').length;
    setText(this.found, this.find.value ? `${hits} of ${this.list.querySelectorAll('[data-n]').length} lines` : '');
  }

  /** After the tab was hidden or the connection away. */
  async resume() {
    if (this.last > 0 || this.waiting.length > 0) await this.catchUp();
    // The hub cannot be asked: the holes stay until the next time.
    await this.fillHoles().catch(() => null);
  }
}
