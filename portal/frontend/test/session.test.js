import assert from 'node:assert/strict';
import { before, beforeEach, test } from 'node:test';

const state = { dataset: {} };
const heard = {};
const told = [];
let timers = [];
let watchSession;

class Channel {
  addEventListener(kind, listener) {
    heard[kind] = listener;
  }

  postMessage(data) {
    told.push(data);
  }
}

before(async () => {
  globalThis.document = Object.assign(new EventTarget(), { hidden: false, body: { dataset: {} }, getElementById: () => state });
  globalThis.location = { protocol: 'http:', host: 'portal' };
  globalThis.addEventListener = () => {};
  globalThis.window = { setTimeout: (action, wait) => timers.push({ action, wait }) };
  globalThis.BroadcastChannel = Channel;
  globalThis.WebSocket = class {
    static OPEN = 1;
  };
  ({ watchSession } = await import('../src/js/session.js'));
});

beforeEach(() => {
  timers = [];
});

test('the page is looked at again when a login ends', () => {
  state.dataset = { session: 'web:me administrates', until: String(Date.now() / 1000 + 100) };
  watchSession();
  assert.deepEqual(told, ['web:me administrates']);
  assert.ok(timers.some(({ wait }) => wait > 100_000 && wait < 102_000));
});

test('once, though the clock here is ahead of the portal\'s', () => {
  state.dataset = { session: 'web:me administrates', until: String(Math.floor(Date.now() / 1000) - 100) };
  document.dispatchEvent(new CustomEvent('regions'));
  assert.equal(timers.length, 1);
  timers[0].action();
  timers = [];
  document.dispatchEvent(new CustomEvent('regions'));
  assert.equal(timers.length, 0);
});

test('and when another tab says that it has begun or ended', () => {
  state.dataset = { session: 'web:me' };
  heard.message({ data: 'web:me' });
  assert.equal(timers.length, 0);
  heard.message({ data: 'web:me administrates' });
  assert.ok(timers.some(({ wait }) => wait <= 400));
});
