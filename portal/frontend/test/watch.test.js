import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { before, test } from 'node:test';

const CASES = JSON.parse(readFileSync(new URL('../../../tests/unit/portal/queue_cases.json', import.meta.url), 'utf8'));
let queueSignature;

before(async () => {
  globalThis.document = Object.assign(new EventTarget(), { hidden: false, body: { dataset: {} }, getElementById: () => null });
  globalThis.location = { protocol: 'http:', host: 'portal' };
  globalThis.addEventListener = () => {};
  globalThis.window = globalThis;
  ({ queueSignature } = await import('../src/js/watch.js'));
});

test('the queue is told apart by what the server tells it apart by', () => {
  for (const { queue, standing } of CASES) assert.equal(queueSignature(queue), standing);
  assert.equal(queueSignature(null), '');
});
