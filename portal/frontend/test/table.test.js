import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Table, silences, survivors, unbroken } from '../src/js/charts/table.js';

test('thinning keeps each stretch’s lowest, highest and first hole', () => {
  const column = [5, 1, 9, 5, null, 5, 5, 5, 2, 3, 4, 3];
  const x = column.map((_, i) => i);
  assert.deepEqual(survivors(x, [column], 12, 11 / 4), [1, 2, 4, 5, 8, 10]);
});

test('a table stays bounded, ordered, and a spike survives a hundred thousand rows', () => {
  const table = new Table(['a', 'b'], 1000);
  for (let i = 0; i < 100_000; i += 1) table.append(i, { a: i === 50 ? 1000 : Math.sin(i), b: i % 7 });
  assert.ok(table.length <= 1000);
  assert.ok(table.x.every((x, i) => i === 0 || x > table.x[i - 1]));
  assert.equal(Math.max(...table.y[0].filter((v) => v !== undefined)), 1000);
  assert.equal(table.last, 99_999);
});

test('however long it goes on, the past keeps one resolution', () => {
  const table = new Table(['a'], 1000);
  for (let i = 0; i < 300_000; i += 1) table.append(i, { a: Math.sin(i / 4000) });
  const widest = Math.max(...table.x.map((x, i) => (i === 0 ? 0 : x - table.x[i - 1])));
  assert.ok(widest < 300_000 / 100, `the widest step is ${widest}`);
});

test('history replaces what it covers and leaves what came later', () => {
  const table = new Table(['a']);
  table.append(5, { a: 50 });
  table.append(12, { a: 120 });
  table.load({ a: { t: [1, 5, 10], v: [10, 51, null] }, b: { t: [2], v: [7] } });
  assert.deepEqual(table.x, [1, 2, 5, 10, 12]);
  assert.deepEqual(table.y[0], [10, undefined, 51, null, 120]);
  assert.deepEqual(table.y[1], [undefined, 7, undefined, undefined, undefined]);
});

test('a closer look replaces only what it shows', () => {
  const table = new Table(['a', 'b']);
  table.load({ a: { t: [0, 10, 20, 30], v: [0, 1, 2, 3] }, b: { t: [0, 30], v: [5, 6] } });
  table.load({ a: { t: [10, 12, 14, 20], v: [1, 9, 8, 2] } }, 10, 25);
  assert.deepEqual(table.x, [0, 10, 12, 14, 20, 30]);
  assert.deepEqual(table.y[0], [0, 1, 9, 8, 2, 3]);
  assert.deepEqual(table.y[1], [5, undefined, undefined, undefined, undefined, 6]);
});

test('rows of the same moment are merged, earlier ones are left out', () => {
  const table = new Table(['a', 'b']);
  table.append(1, { a: 1 });
  table.append(1, { b: 2 });
  table.append(0, { a: 9 });
  assert.deepEqual(table.data, [[1], [1], [2]]);
});

test('a new column begins where it begins', () => {
  const table = new Table(['a']);
  table.append(1, { a: 1 });
  assert.equal(table.column('b'), 1);
  table.append(2, { a: 2, b: 3 });
  assert.deepEqual(table.y[1], [undefined, 3]);
  assert.equal(table.valueAt(1, 0), -1);
  assert.equal(table.valueAt(1, 1), 1);
});

test('a silence is told from the usual pace, whatever that is', () => {
  const x = [...Array(20).keys(), ...Array.from({ length: 20 }, (_, i) => 100 + i)];
  assert.deepEqual(silences(x, x.map(() => 1), 0, 39), [[19, 100]]);
  assert.deepEqual(silences(x, x.map((_, i) => (i % 2 ? undefined : 1)), 0, 39), [[18, 100]]);
  assert.deepEqual(silences(x.map((v) => v * 60), x.map(() => 1), 0, 19), []);
  assert.deepEqual(silences([0, 1, 500], [1, 1, 1], 0, 2), [], 'three readings have no pace');
});

test('a hole parts a line, and another column’s row does not', () => {
  const column = [9, 1, null, null, 2, undefined, 3, null];
  const runs = unbroken([0, 1, 2, 3, 4, 5, 6, 7], column, 1);
  assert.deepEqual(runs, [[[1, 1]], [[4, 2], [6, 3]]]);
  assert.deepEqual(unbroken([0, 1], [null, null], 0), []);
});

test('the last value of a line is found however long another goes on', () => {
  const table = new Table(['short', 'long'], 6000);
  table.append(0, { short: 1, long: 1 });
  for (let x = 1; x < 3000; x += 1) table.append(x, { long: 2 });
  assert.equal(table.valueAt(0, table.length - 1), 0);
  assert.equal(table.valueAt(0, -1), -1);
});
