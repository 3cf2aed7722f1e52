// @ts-check
// What somebody writes survives a reload and a crash, in this browser only: several drafts, each
// with the page that writes it. A page never writes over what another one wrote: it goes on with a
// copy of its own.

const PREFIX = 'draft:';
export const MOST = 10;
/** Characters of all drafts; browsers give an origin about five million. */
export const ROOM = 2_000_000;

/**
 * @typedef {object} Content
 * @property {string} script
 * @property {string} name
 * @property {string} filename
 * @property {Record<string, string>} parameters
 * @property {string} place The address that it began at: ?from=… or ?example=…
 * @property {string | null} key Of the request that it was sent with, while it was not changed since.
 */
/** @typedef {Content & {id: string, writer: string, at: number}} Draft */

/** 128 random bits as text; also where the page is not served by HTTPS. */
export function randomId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

export class Drafts {
  /** @param {Storage} storage @param {string} writer Of this page. @param {() => number} now Milliseconds. */
  constructor(storage, writer, now = Date.now) {
    this.storage = storage;
    this.writer = writer;
    this.now = now;
  }

  /** All drafts, the newest first. @returns {Draft[]} */
  list() {
    const found = [];
    for (let i = 0; i < this.storage.length; i += 1) {
      const key = this.storage.key(i);
      const draft = key?.startsWith(PREFIX) ? this.read(key.slice(PREFIX.length)) : null;
      if (draft) found.push(draft);
    }
    return found.sort((a, b) => b.at - a.at);
  }

  /** @param {string | null} id @returns {Draft | null} */
  read(id) {
    try {
      const draft = JSON.parse(this.storage.getItem(PREFIX + id) ?? 'null');
      if (typeof draft?.script !== 'string') return null;
      return { name: '', filename: '', parameters: {}, place: '', key: null, writer: '', at: 0, ...draft, id };
    } catch {
      return null;
    }
  }

  /** Go on with a draft: from now on this page writes it, and whoever wrote it makes a copy. @param {string} id */
  take(id) {
    const draft = this.read(id);
    if (draft) this.put({ ...draft, writer: this.writer });
    return draft;
  }

  /**
   * Keep what was written. Returns the id under which it is, another one where somebody else has
   * taken the draft meanwhile; null where this browser does not keep it.
   * @param {string} id @param {Content} content
   */
  write(id, content) {
    const stored = this.read(id);
    const mine = !stored || stored.writer === this.writer ? id : randomId();
    return this.put({ ...content, id: mine, writer: this.writer, at: this.now() }) ? mine : null;
  }

  /** @param {string} id */
  drop(id) {
    this.storage.removeItem(PREFIX + id);
  }

  /** Store it; the oldest others make room. @param {Draft} draft */
  put(draft) {
    const text = JSON.stringify(draft);
    const others = this.list().filter(({ id }) => id !== draft.id);
    const size = (one) => JSON.stringify(one).length;
    let total = others.reduce((sum, one) => sum + size(one), text.length);
    while (others.length > 0 && (others.length >= MOST || total > ROOM)) {
      const oldest = /** @type {Draft} */ (others.pop());
      total -= size(oldest);
      this.drop(oldest.id);
    }
    for (;;) {
      try {
        this.storage.setItem(PREFIX + draft.id, text);
        return true;
      } catch {
        const oldest = others.pop();
        if (!oldest) return false;
        this.drop(oldest.id);
      }
    }
  }
}

/** What a draft is called in the list. @param {Content} draft */
export function titleOf({ name, filename, script }) {
  if (name) return name;
  const said = /^#\s*name\s*=\s*["'](.+?)["']/m.exec(script);
  if (said) return said[1];
  if (filename) return filename;
  return (script.split('\n').find((line) => line.trim() !== '' && !line.startsWith('#')) ?? 'Untitled').trim().slice(0, 60);
}
