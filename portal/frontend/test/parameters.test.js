import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { complaint, shortest } from '../src/js/parameters.js';

const CASES = JSON.parse(readFileSync(new URL('../../../tests/unit/portal/parameter_cases.json', import.meta.url), 'utf8'));
const declared = { kind: 'number', min: '0.05', max: '4', unit: 'OD600' };

for (const { text, wrong = '' } of CASES) {
  test(`a parameter given as “${text}”`, () => assert.equal(complaint(declared, text), wrong));
}

test('texts and choices are not judged here', () => {
  assert.equal(complaint({ kind: 'text' }, 'lots'), '');
});

test('numbers are written as Python writes them', () => {
  assert.deepEqual([0, 0.5, 1500, 999999.9, 1e6, 0.0001, 0.00001, -2.5e-9].map(shortest), ['0', '0.5', '1500', '1e+06', '1e+06', '0.0001', '1e-05', '-2.5e-09']);
});
