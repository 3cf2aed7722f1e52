import assert from 'node:assert/strict';
import { before, test } from 'node:test';

const places = { '[data-elapsed="a"]': { textContent: '' }, '[data-detail="a"]': { textContent: 'Building the image: step 1.' } };
let report;
let reportSignature;

before(async () => {
  globalThis.document = Object.assign(new EventTarget(), {
    hidden: false,
    body: { dataset: {} },
    getElementById: () => null,
    querySelector: () => null,
    querySelectorAll: (selector) => (selector in places ? [places[selector]] : []),
  });
  globalThis.location = { protocol: 'http:', host: 'portal' };
  globalThis.addEventListener = () => {};
  globalThis.window = globalThis;
  globalThis.CSS = { escape: (text) => text };
  globalThis.IntersectionObserver = class {};
  globalThis.ResizeObserver = class {};
  ({ report } = await import('../src/js/readings.js'));
  ({ reportSignature } = await import('../src/js/watch.js'));
});

const told = (detail) => ({ at: '2026-03-01T12:00:00Z', activity: { experiment_id: 'x', attempt: 1, phase: 'preparing', elapsed: 60, detail } });

test('what a reactor does is told as it goes on, which is all of one phase', () => {
  report({ topic: 'nodes/a/report', payload: told('building the image: step 2') });
  assert.equal(places['[data-detail="a"]'].textContent, 'Building the image: step 2.');
  report({ topic: 'nodes/b/report', payload: told('building the image: step 9') });
  assert.equal(places['[data-detail="a"]'].textContent, 'Building the image: step 2.');
  assert.equal(reportSignature(told('step 2')), reportSignature(told('step 3')));
});

test('the page is made anew where there was nothing to tell, or is not any more', () => {
  assert.notEqual(reportSignature(told('')), reportSignature(told('step 1')));
});
