import assert from 'node:assert/strict';
import { test } from 'node:test';
import { csv, fileName } from '../src/js/charts/rows.js';
import { moved, scaled } from '../src/js/charts/gestures.js';
import { extremes, logRange, logTicks, yRange } from '../src/js/charts/scales.js';
import { rowsOf } from '../src/js/experiment/csv.js';
import { hunks, lineDiff } from '../src/js/experiment/diff.js';

test('a logarithmic axis has ticks that are few and told apart, over any range', () => {
  assert.deepEqual(logTicks(0.04, 0.5, 8), [0.05, 0.07, 0.1, 0.2, 0.3, 0.5]);
  assert.deepEqual(logTicks(0.001, 1000, 5), [0.01, 1, 100]);
  for (const [low, high] of [[0.37, 0.42], [1, 1e9], [0.05, 4], [99, 101]]) {
    const ticks = logTicks(low, high, 6);
    assert.ok(ticks.length >= 2 && ticks.length <= 8, `${low} to ${high}: ${ticks}`);
    assert.ok(ticks.every((tick, i) => tick >= low && tick <= high && (i === 0 || tick > ticks[i - 1])));
  }
});

test('ranges leave room, and what is not above zero has no place on a logarithmic one', () => {
  assert.deepEqual(extremes([[1, null, -5, 3], [undefined, 0, 9, 2]], 0, 3, true), [1, 9]);
  assert.deepEqual(extremes([[1, null, -5, 3]], 0, 3, false), [-5, 3]);
  assert.deepEqual(extremes([[null]], 0, 0, true), [null, null]);
  const [low, high] = logRange(0.1, 10);
  assert.ok(low > 0 && low < 0.1 && high > 10);
  const flat = logRange(0.5, 0.5);
  assert.ok(flat[1] / flat[0] >= 1.9);
  assert.equal(yRange(0, 1)[0], 0);
});

test('zooming keeps the point where it is; moving stops at the beginning', () => {
  assert.deepEqual(scaled([0, 100], 0.5, 25), [12.5, 62.5]);
  assert.deepEqual(moved([10, 110], -0.5), [0, 100]);
  assert.deepEqual(moved([0, 100], 0.2), [20, 120]);
});

test('a file of values opens in a spreadsheet as values, never as a formula', () => {
  assert.equal(csv([['t', '=cmd()', 'a,"b"'], [1, -2.5, null]]), 't,\'=cmd(),"a,""b"""\r\n1,-2.5,\r\n');
  assert.equal(fileName('Turbidostat at 37 °C/../x', 'pH'), 'Turbidostat-at-37-C-..-x_pH');
});

test('the head of a CSV file is read as spreadsheets write it', () => {
  assert.deepEqual(rowsOf('a,b\r\n"x, ""y""",2\r\n3,4', 9), [['a', 'b'], ['x, "y"', '2'], ['3', '4']]);
  assert.deepEqual(rowsOf('a;b\n1;2\n3', 9, false), [['a', 'b'], ['1', '2']]);
  assert.deepEqual(rowsOf('"line\nbreak"\tb\n', 9), [['line\nbreak', 'b']]);
  assert.equal(rowsOf('a\n'.repeat(100), 5).length, 5);
  assert.deepEqual(rowsOf('', 5), []);
});

test('two scripts differ where they differ', () => {
  const diff = lineDiff(['a', 'b', 'c', 'd'], ['a', 'x', 'c', 'd', 'e']);
  assert.deepEqual(diff.map(({ kind, text }) => kind[0] + text), ['sa', 'lb', 'mx', 'sc', 'sd', 'me']);
  const long = lineDiff([...'abcdefghij'], [...'abcdefghiX']);
  assert.deepEqual(hunks(long, 2).map(({ text }) => text), ['⋯', 'h', 'i', 'j', 'X']);
});

test('a dose that a restart of the node cut off says what it may have been', async () => {
  globalThis.document = { addEventListener() {} };  // for the colours, which are not looked at
  const { marksOf } = await import('../src/js/charts/marks.js');
  const dose = { elapsed: 5, event: 'dose', channel: 'media', value: 0.5, data: { requested_ml: 0.5 } };
  const cut = { ...dose, elapsed: 6, data: { ...dose.data, cut_off: true } };
  assert.deepEqual(marksOf([dose, cut]).map(({ text }) => text), ['media 0.5 mL', 'media up to 0.5 mL']);
});
