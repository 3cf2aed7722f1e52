import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Timebase, anchorsOf, roundTimes } from '../src/js/charts/timebase.js';

const T0 = Date.parse('2026-03-01T12:00:00Z') / 1000;
const at = (seconds) => new Date((T0 + seconds) * 1000).toISOString();

test('a simulated hour is a wall minute, and a pause is time in which nothing happens', () => {
  const base = new Timebase(anchorsOf([
    { attempt: 1, what: 'executing', t: at(-900), elapsed: null },
    { attempt: 2, what: 'accepted', t: at(-20), elapsed: null },
    { attempt: 2, what: 'executing', t: at(0), elapsed: null },
    { attempt: 2, what: 'paused', t: at(60), elapsed: 3600 },
    { attempt: 2, what: 'resumed', t: at(660), elapsed: 3600 },
    { attempt: 2, what: 'finished', t: at(900), elapsed: 7200 },
  ]), 60);
  assert.equal(base.wall(1800) - T0, 30);
  assert.equal(base.wall(3600) - T0, 60);
  assert.equal(base.wall(3660) - T0, 661);
  assert.equal(base.elapsed(T0 + 300), 3600);
  assert.equal(base.elapsed(T0 + 661), 3660);
  assert.deepEqual(base.pauses, [{ x: 3600, from: T0 + 60, to: T0 + 660 }]);
  base.reach(7200, T0 + 720);
  base.reach(10_800, T0 + 780);
  assert.equal(base.wall(7200) - T0, 720);
  assert.equal(base.all.length, 4);
});

test('a clock that was set back makes no time run backwards', () => {
  const base = new Timebase([{ x: 0, t: 100 }, { x: 50, t: 50 }, { x: 60, t: 160 }], 1);
  let last = -Infinity;
  for (let x = -10; x < 100; x += 1) {
    const t = base.wall(x);
    assert.ok(t >= last);
    last = t;
  }
});

test('an axis has round times of the zone', () => {
  const berlin = () => 3600;
  const { step, times } = roundTimes(T0 + 100, T0 + 5 * 3600, 6, berlin);
  assert.equal(step, 3600);
  assert.deepEqual(times.map((t) => t - T0), [3600, 7200, 10_800, 14_400, 18_000]);
  assert.equal(roundTimes(T0, T0 + 10 * 86_400, 5, berlin).times[0] - T0, 11 * 3600);
});
