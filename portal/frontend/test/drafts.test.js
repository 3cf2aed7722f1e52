import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Drafts, MOST, ROOM, titleOf } from '../src/js/upload/drafts.js';

/** A browser's storage with so many characters of room. */
class Store extends Map {
  constructor(room = 5_000_000) {
    super();
    this.room = room;
  }

  get length() {
    return this.size;
  }

  key(i) {
    return [...this.keys()][i] ?? null;
  }

  getItem(key) {
    return this.get(key) ?? null;
  }

  setItem(key, value) {
    const others = [...this].filter(([other]) => other !== key).reduce((sum, [k, v]) => sum + k.length + v.length, 0);
    if (others + key.length + value.length > this.room) throw new Error('QuotaExceededError');
    this.set(key, value);
  }

  removeItem(key) {
    this.delete(key);
  }
}

const content = (script, more = {}) => ({ script, name: '', filename: '', parameters: {}, place: '', key: null, ...more });

test('what was written is there after a crash', () => {
  const store = new Store();
  new Drafts(store, 'before', () => 1).write('a', content('print()', { parameters: { od: '0.7' }, key: 'k' }));
  const [draft] = new Drafts(store, 'after').list();
  assert.equal(draft.script, 'print()');
  assert.deepEqual(draft.parameters, { od: '0.7' });
  assert.equal(draft.key, 'k');
});

test('two pages with one draft do not write over one another', () => {
  const store = new Store();
  const first = new Drafts(store, 'first', () => 1);
  const second = new Drafts(store, 'second', () => 2);
  assert.equal(first.write('a', content('mine')), 'a');
  second.take('a');
  assert.equal(second.write('a', content('theirs')), 'a');
  const copy = first.write('a', content('mine, longer'));
  assert.notEqual(copy, 'a');
  assert.equal(first.read('a').script, 'theirs');
  assert.equal(first.read(copy).script, 'mine, longer');
  assert.equal(first.write(copy, content('mine, longest')), copy);
});

test('the oldest make room, by number and by size', () => {
  const store = new Store();
  let now = 0;
  const drafts = new Drafts(store, 'me', () => (now += 1));
  for (let i = 0; i < MOST + 3; i += 1) drafts.write(`d${i}`, content(`script ${i}`));
  assert.equal(drafts.list().length, MOST);
  assert.equal(drafts.read('d2'), null);
  for (let i = 0; i < 4; i += 1) drafts.write(`large${i}`, content('x'.repeat(ROOM / 3)));
  assert.deepEqual(drafts.list().map(({ id }) => id), ['large3', 'large2']);
});

test('where the browser has no room, older ones go; what cannot be kept is said', () => {
  const store = new Store(2000);
  const drafts = new Drafts(store, 'me', () => store.size);
  assert.equal(drafts.write('a', content('x'.repeat(1500))), 'a');
  assert.equal(drafts.write('b', content('y'.repeat(1500))), 'b');
  assert.equal(drafts.read('a'), null);
  assert.equal(drafts.write('c', content('z'.repeat(3000))), null);
});

test('what is no draft is left alone', () => {
  const store = new Store();
  store.setItem('draft:x', '{"script": 5}');
  store.setItem('draft:y', 'no json');
  store.setItem('theme', 'dark');
  assert.deepEqual(new Drafts(store, 'me').list(), []);
});

test('a draft is called what its script is', () => {
  assert.equal(titleOf(content('# name = "Turbidostat"\n', {})), 'Turbidostat');
  assert.equal(titleOf(content('x', { filename: 'a.py' })), 'a.py');
  assert.equal(titleOf(content('# comment\nimport math\n')), 'import math');
});
