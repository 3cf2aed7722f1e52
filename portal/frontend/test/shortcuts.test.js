import assert from 'node:assert/strict';
import { test } from 'node:test';
import { meaning } from '../src/js/shortcuts.js';

test('g and a letter lead somewhere, a letter alone does not', () => {
  assert.equal(meaning('g', false), 'prefix');
  assert.equal(meaning('q', true), '/queue');
  assert.equal(meaning('q', false), '');
  assert.equal(meaning('x', true), '');
  assert.equal(meaning('?', true), 'help');
  assert.equal(meaning('/', false), 'search');
  assert.equal(meaning('toString', true), '');
});
