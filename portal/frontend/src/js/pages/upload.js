// @ts-check
import { live } from '../common.js';
import { ApiError, post } from '../api.js';
import { ask } from '../ask.js';
import { byId, h, icon, pageData, setText } from '../dom.js';
import { dropDraft, loadDraft, saveDraft } from '../draft.js';
import { Parameters } from '../parameters.js';
import { listProblems } from '../problems.js';
import { sentence } from '../format.js';
import { toast } from '../toasts.js';

const CHECK_AFTER = 500;
const LARGEST = 256 * 1024;

const form = /** @type {HTMLFormElement} */ (byId('upload'));
const area = /** @type {HTMLTextAreaElement} */ (byId('script'));
const nameField = /** @type {HTMLInputElement} */ (byId('name'));
const button = /** @type {HTMLButtonElement} */ (byId('submit'));
const picker = /** @type {HTMLInputElement} */ (byId('file'));
const drop = /** @type {HTMLElement} */ (byId('drop'));

let filename = '';
/** @type {import('../editor/editor.js').Editor | null} */
let editor = null;
let timer = 0;
/** Counts checks, so that only the answer to the last one is shown. */
let asked = 0;

const parameters = new Parameters(() => changed(false));

const script = () => editor?.text ?? area.value;

function keep() {
  const text = script();
  if (text.trim() === '' && nameField.value === '') dropDraft();
  else saveDraft({ script: text, name: nameField.value, filename, parameters: Object.fromEntries(parameters.typed) });
}

/** Something was written: keep it and check it soon. */
function changed(scriptToo = true) {
  if (scriptToo) area.value = script();
  clearTimeout(timer);
  timer = window.setTimeout(() => {
    keep();
    check();
  }, CHECK_AFTER);
}

function write(text, file = '') {
  filename = file;
  setText(byId('filename'), file);
  if (editor) editor.text = text;
  else area.value = text;
  changed();
}

function goTo(line, column) {
  if (editor) editor.goTo(line, column);
  else area.focus();
}

function verdict(picture, text) {
  byId('verdict')?.replaceChildren(...(picture ? [icon(picture)] : []), h('span', {}, text));
}

function showFit(nodes, known) {
  const fits = byId('fits');
  if (!known) {
    fits?.replaceChildren();
    return;
  }
  const names = nodes.map((id) => live.latest.get(`nodes/${id}/channels`)?.label ?? id);
  fits?.replaceChildren(
    h('p', { class: 'fit' }, icon(names.length > 0 ? 'reactor' : 'alert'), h('span', {}, names.length > 0 ? `Can run on ${names.join(', ')}` : 'No reactor here can run it')),
  );
}

function showProblems(problems) {
  parameters.right();
  const rest = problems.filter(({ error }) => {
    const name = error.details?.parameter;
    return !(typeof name === 'string' && parameters.wrong(name, sentence(error.message)));
  });
  listProblems(rest, goTo);
  editor?.show(problems.map(({ line, column, severity, error }) => ({ line, column, severity, message: `${sentence(error.message)} ${sentence(error.hint)}`.trim() })));
}

async function check() {
  const text = script();
  const mine = (asked += 1);
  if (text.trim() === '') {
    showProblems([]);
    showFit([], false);
    verdict('', 'Write, drop a file, or take an example.');
    return;
  }
  verdict('', 'Checking …');
  try {
    const checked = await post('/api/experiments/check', { script_content: text, parameters: parameters.values });
    if (mine !== asked) return;
    const info = checked.script;
    if (info) {
      parameters.show(info.parameters ?? []);
      nameField.placeholder = info.name ?? filename.replace(/\.py$/, '');
    }
    showProblems(checked.problems ?? []);
    showFit(checked.suitable_nodes ?? [], checked.ok);
    const errors = (checked.problems ?? []).filter(({ severity }) => severity === 'error').length;
    const warnings = (checked.problems ?? []).length - errors;
    if (checked.ok) verdict('check', warnings > 0 ? `It can run. ${warnings} thing${warnings > 1 ? 's' : ''} to know.` : 'Nothing wrong with it.');
    else verdict('alert', `${errors} problem${errors === 1 ? '' : 's'} to mend.`);
  } catch (error) {
    if (mine === asked) verdict('unlink', sentence(`Not checked: ${error.message}`));
  }
}

async function open(file) {
  if (file.size > LARGEST) {
    toast(`“${file.name}” has ${file.size} bytes; a script has at most ${LARGEST}.`, { bad: true, hint: 'Keep data out of the script.' });
    return;
  }
  try {
    write(new TextDecoder('utf-8', { fatal: true }).decode(await file.arrayBuffer()).replaceAll('\r\n', '\n'), file.name);
  } catch {
    toast(`“${file.name}” is not text in UTF-8.`, { bad: true, hint: 'Save it as UTF-8 and try again.' });
  }
}

async function replaceable() {
  if (script().trim() === '') return true;
  return ask({ title: 'Replace what is in the editor?', text: 'What you wrote is lost.', ok: 'Replace it' });
}

/** What was sent last, and its key: sent again after a lost answer it is queued only once. */
let sent = { text: '', key: '' };

function keyFor(text) {
  if (sent.text !== text) {
    const random = crypto.getRandomValues(new Uint8Array(16));
    sent = { text, key: [...random].map((byte) => byte.toString(16).padStart(2, '0')).join('') };
  }
  return sent.key;
}

async function submit() {
  const refused = /** @type {HTMLElement} */ (byId('refused'));
  refused.hidden = true;
  button.disabled = true;
  button.setAttribute('aria-busy', 'true');
  try {
    const body = {
      script_content: script(),
      name: nameField.value.trim() || null,
      filename: filename || null,
      parameters: parameters.values,
    };
    const answer = await post('/api/experiments/start', body, { 'Idempotency-Key': keyFor(JSON.stringify(body)) });
    dropDraft();
    location.href = `/experiment/${answer.experiment_id}`;
  } catch (error) {
    refused.replaceChildren(icon('alert'), h('span', {}, `${sentence(error.message)} ${sentence(error.hint)}`));
    refused.hidden = false;
    if (error instanceof ApiError && typeof error.details.line === 'number') goTo(error.details.line, error.details.column);
    button.disabled = false;
    button.removeAttribute('aria-busy');
    check();
  }
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  submit();
});
area.addEventListener('input', () => changed());
nameField.addEventListener('input', () => changed(false));
byId('clear')?.addEventListener('click', async () => {
  if (!(await replaceable())) return;
  parameters.typed.clear();
  parameters.show([]);
  write('');
});
byId('choose')?.addEventListener('click', () => {
  picker.click();
});
picker.addEventListener('change', async () => {
  if (picker.files?.[0]) await open(picker.files[0]);
  picker.value = '';
});

const examples = pageData('examples-data') ?? [];
byId('examples')?.addEventListener('click', async (event) => {
  const link = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest('[data-example]'));
  if (!link) return;
  event.preventDefault();
  const example = examples.find(({ id }) => id === link.dataset.example);
  if (!example || !(await replaceable())) return;
  parameters.typed.clear();
  nameField.value = '';
  write(example.script, `${example.id.replace(/\.py$/, '')}.py`);
  drop.scrollIntoView({ block: 'nearest' });
});

// A file may be dropped anywhere on the page.
let inside = 0;
const hasFile = (event) => [...(event.dataTransfer?.types ?? [])].includes('Files');
addEventListener('dragenter', (event) => {
  if (!hasFile(event)) return;
  inside += 1;
  drop.classList.add('dropping');
});
addEventListener('dragleave', (event) => {
  if (!hasFile(event)) return;
  inside -= 1;
  if (inside <= 0) drop.classList.remove('dropping');
});
addEventListener('dragover', (event) => hasFile(event) && event.preventDefault(), true);
addEventListener('drop', (event) => {
  if (!hasFile(event)) return;
  event.preventDefault();
  event.stopPropagation();
  inside = 0;
  drop.classList.remove('dropping');
  const file = event.dataTransfer?.files[0];
  if (file) open(file);
}, true);

async function start() {
  const draft = loadDraft();
  if (area.value.trim() === '' && draft) {
    area.value = draft.script;
    if (!nameField.value) nameField.value = draft.name;
    filename = draft.filename;
    parameters.restore(draft.parameters);
    setText(byId('filename'), filename);
  }
  const host = /** @type {HTMLElement} */ (byId('editor'));
  try {
    const { Editor } = await import('../editor/editor.js');
    host.hidden = false;
    editor = new Editor(host, {
      text: area.value,
      label: 'The script',
      hint: 'Write Python here, drop a file, or take an example.',
      changed: () => changed(),
      channels: () => [...live.latest].filter(([topic]) => topic.endsWith('/channels')).flatMap(([, payload]) => payload.channels),
    });
    area.hidden = true;
  } catch {
    host.hidden = true;
  }
  check();
}

start();
