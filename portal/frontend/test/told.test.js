import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Told, attemptOf } from '../src/js/experiment/told.js';

const at = (elapsed, event, t) => ({ elapsed, event, t: `2026-03-01T12:00:${t}Z` });
const shown = (what, t, attempt = 1) => ({ what, attempt, t: `2026-03-01T12:00:${t}+00:00` });

test('a page that lacks what is on record is told of it until it shows it', () => {
  const told = new Told();
  const sent = shown('parameters', '01.250000');
  told.take([at(20, 'parameters', '01.25'), at(40, 'parameters-seen', '02.5')], false);
  assert.ok(told.missing([]));
  assert.ok(told.missing([sent]), 'however often it was asked before');
  assert.ok(told.missing([sent]));
  assert.ok(!told.missing([sent, shown('parameters-seen', '02.500000')]));
  told.take([at(50, 'dose', '03')], false);
  assert.ok(!told.missing([sent, shown('parameters-seen', '02.500000')]));
});

test('also of what came with the charts, before something else that is drawn', () => {
  const told = new Told();
  told.take([at(40, 'parameters-seen', '02.5'), at(900, 'dose', '45')], true);
  assert.ok(told.missing([]));
});

test('of two the later one on record counts, though the clock was set back between them', () => {
  const told = new Told();
  told.take([at(20, 'parameters', '30'), at(21, 'parameters-seen', '02')], false);
  assert.ok(told.missing([shown('parameters', '30')]));
});

test('events are asked for from before the last one, for they may come in another order', () => {
  const told = new Told();
  assert.equal(told.from, 0);
  told.take([at(500, 'set', '10'), { ...at(0, 'dropped', '11'), elapsed: null }], false);
  assert.ok(told.from > 0 && told.from < 500);
  told.take([at(3, 'run', '20')], true);
  assert.equal(told.from, 0, 'another attempt begins at zero');
});

test('the attempt is the latest that is told of', () => {
  assert.equal(attemptOf([]), 0);
  assert.equal(attemptOf([shown('executing', '01'), shown('gap', '02', 0), shown('accepted', '03', 2)]), 2);
});
