// @ts-check
// The log as it is written: follows its end unless one scrolls up, searches all of it, and holds
// tens of thousands of lines without slowing the page. What is missing is fetched when somebody
// asks for it.
import { call } from '../api.js';
import { byId, h, icon, memory, setText } from '../dom.js';
import { Logbook, finder } from './logbook.js';
import { LogView } from './view.js';

const PAGE = 500;
/** Lines before one that is jumped to. */
const BEFORE = 200;
const MOST_HITS = 2000;
const TYPED = 250;

export class Console {
  /** @param {string} experimentId */
  constructor(experimentId) {
    this.id = experimentId;
    this.list = /** @type {HTMLElement} */ (byId('lines'));
    this.follow = /** @type {HTMLButtonElement} */ (byId('follow'));
    this.find = /** @type {HTMLInputElement} */ (byId('find'));
    this.found = byId('found');
    this.book = new Logbook();
    this.waiting = [];
    this.frame = 0;
    this.asking = false;
    this.following = true;
    /** Which lines of the whole log have what is searched. @type {number[]} */
    this.hits = [];
    this.total = 0;
    this.timer = 0;
    /** The one source that is shown; empty: all. */
    this.source = '';
    this.book.add(this.given());
    this.view = new LogView(this.list, this.book, (hole, button) => this.fill(hole, button), () => this.settle());
    this.listen();
    this.view.rebuild();
    requestAnimationFrame(() => this.settle()); // the page is being made: it is laid out then
  }

  /** The lines that the server put into the page. */
  given() {
    return [...this.list.querySelectorAll('[data-n]')].map((row) => ({
      n: Number(/** @type {HTMLElement} */ (row).dataset.n),
      t: row.querySelector('time')?.dateTime ?? '',
      source: row.className,
      text: row.querySelector('.text')?.textContent ?? '',
    }));
  }

  get last() {
    return this.book.last;
  }

  listen() {
    this.list.addEventListener('scroll', () => {
      this.setFollowing(this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 24);
    }, { passive: true });
    this.follow.addEventListener('click', () => {
      this.setFollowing(!this.following);
      if (this.following) this.view.toEnd();
    });
    byId('wrap')?.addEventListener('click', () => {
      this.wrap(this.list.classList.contains('nowrap'));
      this.view.rebuild();
      this.settle();
    });
    if (memory.get('log.wrap') === 'no') this.wrap(false);
    byId('streams')?.addEventListener('click', (event) => {
      const button = /** @type {Element} */ (event.target).closest('button');
      if (button) this.only(button);
    });
    this.find.addEventListener('input', () => this.search());
    this.find.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') this.go(event.shiftKey ? -1 : 1);
      else if (event.key === 'Escape' && this.find.value) {
        this.find.value = '';
        this.search();
      } else return;
      event.preventDefault();
    });
    byId('find-next')?.addEventListener('click', () => this.go(1));
    byId('find-previous')?.addEventListener('click', () => this.go(-1));
    this.list.addEventListener('keydown', (event) => {
      if (event.key === 'End') this.setFollowing(true);
    });
  }

  /** Show one source or all; of one source also what the page has not loaded. @param {HTMLButtonElement} button */
  async only(button) {
    for (const other of button.parentElement?.querySelectorAll('button') ?? []) other.setAttribute('aria-pressed', String(other === button));
    const source = button.dataset.source ?? '';
    this.source = source;
    this.view.sparse = source !== '';
    this.view.book = source === '' ? this.book : new Logbook();
    if (source !== '') this.view.book.add(this.book.lines.filter((line) => line.source === source));
    this.show();
    if (source === '' || this.whole) return;
    const page = await this.page({ limit: MOST_HITS }).catch(() => null);
    if (!page || this.source !== source) return;
    this.view.book.add(page.lines);
    this.show();
  }

  show() {
    this.view.rebuild();
    this.settle();
    this.search();
  }

  /** Whether the browser holds all lines up to the last. */
  get whole() {
    return this.book.first <= 1 && this.book.holes.length === 0;
  }

  shows({ source }) {
    return this.source === '' || source === this.source;
  }

  /** Wrap long lines; the browser remembers it. @param {boolean} on */
  wrap(on) {
    this.list.classList.toggle('nowrap', !on);
    byId('wrap')?.setAttribute('aria-pressed', String(on));
    memory.set('log.wrap', on ? null : 'no');
  }

  setFollowing(on) {
    this.following = on;
    this.follow.setAttribute('aria-pressed', String(on));
  }

  settle() {
    if (this.following) this.view.toEnd();
  }

  /** Add live lines. Where some are missing they are fetched, so that none is lost to the eye. */
  append(lines) {
    for (const line of lines) if (line.n > this.last) this.waiting.push(line);
    if (this.waiting.length > this.book.mostLines) this.waiting.splice(0, this.waiting.length - this.book.mostLines);
    if (!this.frame && !document.hidden) this.frame = requestAnimationFrame(() => this.write());
  }

  write() {
    this.frame = 0;
    if (this.waiting.length === 0) return;
    this.waiting.sort((a, b) => a.n - b.n);
    if (this.last > 0 && this.waiting[0].n > this.last + 1) this.catchUp();
    else this.put(this.waiting.splice(0));
  }

  put(lines) {
    const fresh = lines.filter(({ n }) => n > this.last);
    const shown = fresh.filter((line) => this.shows(line));
    let atEnd = this.book.add(fresh);
    if (this.view.book !== this.book) atEnd = this.view.book.add(shown);
    if (atEnd) this.view.append(shown);
    else this.view.rebuild();
    this.settle();
    if (this.find.value) {
      const matches = finder(this.find.value);
      for (const line of shown) {
        if (matches(line)) {
          this.total += 1;
          if (this.hits.length < MOST_HITS) this.hits.push(line.n);
        }
      }
      this.count();
    }
  }

  /** Fetch what came after the last line that is here; the last ones, where there is none. */
  async catchUp() {
    if (this.asking) return;
    this.asking = true;
    const next = () => this.page({ after: this.last || null, source: '' });
    try {
      for (let page = await next(); page.lines.length > 0; page = await next()) {
        this.put(page.lines);
        if (page.complete) break;
      }
    } catch {
      // The hub cannot be asked: the hole stays, and can be filled by hand.
    } finally {
      this.asking = false;
      this.put(this.waiting.splice(0));
    }
  }

  /** Lines after a number, or the last ones; of one source where that alone is shown. */
  page({ after = /** @type {number | null} */ (null), limit = PAGE, search = '', source = this.source }) {
    const wanted = new URLSearchParams({ limit: String(limit) });
    if (after !== null) wanted.set('after', String(after));
    if (search) wanted.set('search', search);
    if (source) wanted.set('source', source);
    return call(`/api/experiments/${this.id}/logs?${wanted}`);
  }

  /** Fetch lines of a hole, those next to what is read. @param {{from: number, upto: number}} hole */
  async fill(hole, button) {
    button.disabled = true;
    this.setFollowing(false);
    const page = await this.page({ after: Math.max(hole.from - 1, hole.upto - PAGE) }).catch(() => null);
    button.disabled = false;
    const lines = (page?.lines ?? []).filter(({ n }) => n >= hole.from && n <= hole.upto);
    if (lines.length === 0) {
      setText(button, 'They cannot be had now. Try again');
      return;
    }
    this.book.add(lines);
    this.view.rebuild(hole.upto + 1);
  }

  /** Search what is here at once, and the rest of the log at the hub a moment later. */
  search() {
    const wanted = this.find.value;
    this.view.wanted = wanted;
    this.view.current = 0;
    const matches = finder(wanted);
    const here = wanted ? this.view.book.lines.filter(matches) : [];
    this.hits = here.map(({ n }) => n);
    this.total = this.hits.length;
    this.view.mark();
    this.count();
    clearTimeout(this.timer);
    if (wanted && !this.whole) this.timer = window.setTimeout(() => this.searchAll(wanted), TYPED);
  }

  async searchAll(wanted) {
    const page = await this.page({ after: 0, limit: MOST_HITS, search: wanted }).catch(() => null);
    if (!page || this.find.value !== wanted) return;
    this.hits = [...new Set([...page.lines.map(({ n }) => n), ...this.hits])].sort((a, b) => a - b);
    this.total = Math.max(page.found ?? 0, this.hits.length);
    this.count();
  }

  count() {
    const any = this.find.value !== '';
    const at = this.hits.indexOf(this.view.current);
    const of = this.total.toLocaleString('en');
    setText(this.found, !any ? '' : this.total === 0 ? 'nothing found' : at < 0 ? `${of} line${this.total === 1 ? '' : 's'}` : `${(at + 1).toLocaleString('en')} of ${of}`);
    for (const id of ['find-next', 'find-previous']) {
      const button = byId(id);
      if (button) /** @type {HTMLButtonElement} */ (button).disabled = this.hits.length === 0;
    }
  }

  /** To the next line that has it, or the one before. */
  async go(step) {
    if (this.hits.length === 0) return;
    const at = this.hits.indexOf(this.view.current);
    const place = at < 0 ? (step > 0 ? this.near() : this.hits.length - 1) : (at + step + this.hits.length) % this.hits.length;
    const n = this.hits[place];
    if (!this.view.book.has(n)) {
      const page = await this.page({ after: Math.max(0, n - (this.source ? 1 : BEFORE)) }).catch(() => null);
      this.view.book.add(page?.lines ?? []);
      this.view.rebuild();
    }
    this.setFollowing(false);
    this.view.current = n;
    this.view.reveal(n);
    this.count();
  }

  /** The first hit at or below what is seen. */
  near() {
    const n = this.view.top;
    const place = this.hits.findIndex((hit) => hit >= n);
    return place < 0 ? 0 : place;
  }

  /** After the tab was hidden or the connection away. */
  async resume() {
    await this.catchUp();
    // What was on its way when it was looked for last.
    for (const hole of this.book.holes.slice(-3)) {
      if (hole.upto - hole.from >= PAGE) continue;
      const page = await this.page({ after: hole.from - 1, source: '' }).catch(() => null);
      this.book.add((page?.lines ?? []).filter(({ n }) => n <= hole.upto));
      this.view.rebuild();
    }
    this.settle();
  }
}

/** What a script wrote beyond its budget was not kept. @param {any[]} events of the record */
export function tellDropped(events) {
  const note = byId('log-dropped');
  const dropped = events.filter(({ event, data }) => event === 'dropped' && data?.kind === 'log');
  if (!note || dropped.length === 0) return;
  const count = dropped.reduce((sum, { data }) => sum + (Number(data.count) || 0), 0);
  note.hidden = false;
  note.replaceChildren(icon('alert'), h('span', {}, `${count.toLocaleString('en')} line${count === 1 ? ' was' : 's were'} not kept: ${dropped.at(-1).data.reason ?? 'there was no room'}.`));
}
