import assert from 'node:assert/strict';
import { test } from 'node:test';
import { completeSdk, declaredIn } from '../src/js/editor/completion.js';

const SDK = [
  { name: 'reactor', doc: '', members: [{ name: 'dose', kind: 'function', doc: 'Pump.', signature: '(channel: str, *, ml: float) -> Dose', arguments: ['ml'] }] },
  { name: 'experiment', doc: '', members: [{ name: 'parameters', kind: 'property', doc: '', signature: '', arguments: [] }] },
];
const CHANNELS = [{ name: 'od', label: 'Density', unit: 'OD600' }, { name: 'od', label: 'Density', unit: 'OD600' }, { name: 'temperature-setpoint', label: 'T', unit: '°C' }];
const SCRIPT = '# /// script\n# [tool.bioreactor.parameters]\n# target_od = {default = 1}\n# hours = 3\n# ///\n';

/** What is offered at the end of a line. */
function offered(line, explicit = true) {
  const text = SCRIPT + line;
  const doc = { toString: () => text, lineAt: () => ({ from: SCRIPT.length, text: line }) };
  const found = completeSdk(SDK, () => CHANNELS)({ state: { doc }, pos: text.length, explicit });
  return found && { from: found.from - SCRIPT.length, labels: found.options.map(({ label }) => label) };
}

test('members, arguments, channels and parameters are offered where they belong', () => {
  assert.deepEqual(offered('x = reactor.do'), { from: 12, labels: ['dose'] });
  assert.deepEqual(offered('reactor.dose("media", m'), { from: 22, labels: ['ml='] });
  assert.deepEqual(offered('reactor.read("od'), { from: 14, labels: ['od', 'temperature-setpoint'] });
  assert.deepEqual(offered('# needs = ["o'), { from: 12, labels: ['od', 'temperature-setpoint'] });
  assert.deepEqual(offered('experiment.parameters["t'), { from: 23, labels: ['target_od', 'hours'] });
  assert.equal(offered('other.do'), null);
  assert.equal(offered('x = 1'), null);
});

test('parameters are read from the metadata', () => {
  assert.deepEqual(declaredIn('print()\n'), []);
});
