import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pieces, plain } from '../src/js/log/ansi.js';
import { Logbook, cuts, finder } from '../src/js/log/logbook.js';

const line = (n, text = `line ${n}`) => ({ n, t: '2026-03-01T12:00:00Z', source: 'stdout', text });
const lines = (from, upto) => Array.from({ length: upto - from + 1 }, (_, i) => line(from + i));

test('colours of a terminal become names, everything else is left out', () => {
  assert.deepEqual(pieces('a\u001b[1;31mred\u001b[0m b'), [
    { text: 'a', look: '' },
    { text: 'red', look: 'ansi-bold ansi-red' },
    { text: ' b', look: '' },
  ]);
  assert.deepEqual(pieces('\u001b]0;title\u0007x\u001b[2J\u001b[38;5;196my\u0007'), [{ text: 'xy\ufffd', look: '' }]);
  assert.equal(plain('\u001b[32mok\u001b[0m\u0000'), 'ok\ufffd');
});

test('lines stand in order, each once, whatever order they come in', () => {
  const book = new Logbook();
  assert.ok(book.add(lines(10, 12)));
  assert.ok(book.add(lines(12, 13)));
  assert.ok(!book.add(lines(1, 3)));
  assert.deepEqual(book.lines.map(({ n }) => n), [1, 2, 3, 10, 11, 12, 13]);
  assert.deepEqual(book.holes, [{ from: 4, upto: 9 }]);
  book.add(lines(4, 9));
  assert.deepEqual(book.holes, []);
  assert.equal(book.place(7), 6);
});

test('however much is written, a bounded part is held', () => {
  const book = new Logbook(1000, 50_000);
  for (let n = 1; n <= 20_000; n += 1) book.add([line(n)]);
  assert.ok(book.lines.length <= 1000);
  assert.equal(book.last, 20_000);
  book.add([line(20_001, 'x'.repeat(49_000))]);
  assert.ok(book.characters <= 50_000);
  assert.equal(book.characters, book.lines.reduce((sum, { text }) => sum + text.length, 0));
});

test('a search finds text as it is seen, and cuts it where it stands', () => {
  assert.ok(finder('OD 0.4')(line(1, '\u001b[32mod 0.4\u001b[0m')));
  assert.deepEqual(cuts('Od and OD', 'od'), [
    { text: 'Od', hit: true },
    { text: ' and ', hit: false },
    { text: 'OD', hit: true },
  ]);
  assert.deepEqual(cuts('abc', ''), [{ text: 'abc', hit: false }]);
});
