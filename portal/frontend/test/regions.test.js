import assert from 'node:assert/strict';
import { before, beforeEach, test } from 'node:test';

/** Answers that the portal has not given yet. @type {((ok: boolean) => void)[]} */
let asked = [];
let state = { id: 'state', dataset: {} };
let now = Date.now();
let refresh;
let hold;

const page = () => ({
  documentElement: { dataset: { version: '1' } },
  querySelectorAll: () => [],
  getElementById: () => null,
});

before(async () => {
  globalThis.document = Object.assign(new EventTarget(), {
    hidden: false,
    body: { dataset: {} },
    documentElement: { dataset: { version: '1' } },
    getElementById: () => state,
    querySelectorAll: () => [],
  });
  globalThis.window = globalThis;
  globalThis.location = { href: 'http://portal/queue', reload: () => assert.fail('reloaded') };
  globalThis.DOMParser = class {
    parseFromString = page;
  };
  globalThis.fetch = () => new Promise((resolve) => {
    asked.push((ok) => resolve({ ok, status: ok ? 200 : 503, redirected: false, text: async () => '' }));
  });
  ({ refresh, hold } = await import('../src/js/regions.js'));
});

beforeEach((t) => {
  now += 1_000_000;
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now });
  asked = [];
  state = { id: 'state', dataset: {} };
});

const settled = () => new Promise((resolve) => setImmediate(resolve));

/** Let the portal answer the oldest question. */
async function answer(ok = true) {
  asked.shift()(ok);
  await settled();
}

function look(hidden) {
  document.hidden = hidden;
  document.dispatchEvent(new Event('visibilitychange'));
}

test('what changes while the page is on its way has it fetched once more', async (t) => {
  refresh();
  t.mock.timers.tick(1000);
  refresh();
  t.mock.timers.tick(1000);
  assert.equal(asked.length, 1);
  await answer();
  t.mock.timers.tick(1000);
  assert.equal(asked.length, 1);
  await answer();
  t.mock.timers.tick(60_000);
  assert.equal(asked.length, 0);
});

test('also where the tab is hidden just then, as soon as it is seen', async (t) => {
  refresh();
  t.mock.timers.tick(0);
  refresh(); // due in a moment, which does not come
  look(true);
  await answer();
  t.mock.timers.tick(60_000);
  assert.equal(asked.length, 0, 'nobody looks');
  look(false);
  t.mock.timers.tick(1000);
  assert.equal(asked.length, 1);
  await answer();
});

test('what could not be fetched is fetched again', async (t) => {
  refresh();
  t.mock.timers.tick(1000);
  await answer(false);
  t.mock.timers.tick(3000);
  assert.equal(asked.length, 1);
  await answer();
  t.mock.timers.tick(60_000);
  assert.equal(asked.length, 0);
});

test('a region that is let go gets what it missed, once', async (t) => {
  const region = { dataset: {} };
  hold(region, true);
  hold(region, true);
  t.mock.timers.tick(1000);
  assert.deepEqual([region.dataset, asked.length], [{ held: '' }, 0]);
  hold(region, false);
  hold(region, false);
  t.mock.timers.tick(1000);
  assert.deepEqual([region.dataset, asked.length], [{}, 1]);
  await answer();
  t.mock.timers.tick(60_000);
  assert.equal(asked.length, 0);
});

test('a page that lacks something is fetched again until it does not', async (t) => {
  state.dataset.partial = '';
  refresh();
  t.mock.timers.tick(1000);
  await answer();
  t.mock.timers.tick(3000);
  assert.equal(asked.length, 1);
  delete state.dataset.partial;
  await answer();
  t.mock.timers.tick(60_000);
  assert.equal(asked.length, 0);
});
