// @ts-check
import { live } from '../common.js';
import { byId, h, icon, setText } from '../dom.js';
import { bytes, ago } from '../format.js';
import { judgeAll, restoreIn, takeParameters, typedIn } from '../parameters.js';
import { writeTimes } from '../times.js';
import { toast } from '../toasts.js';
import { listDrafts } from '../upload/draft-list.js';
import { Drafts, randomId, titleOf } from '../upload/drafts.js';
import { LARGEST, takeFiles } from '../upload/files.js';
import { LostError, isParts, post, problemsIn, show } from '../upload/send.js';
import { answerTabs, openElsewhere } from '../upload/tabs.js';

const CHECK_AFTER = 500;
/** The queue moves on: where a submission would stand is asked again, not too often. */
const LOOK_AGAIN = 10_000;
const WARN_FROM = 0.8;
/** What passes by itself, or when an administrator makes room. */
const LATER = new Set(['UNAVAILABLE', 'TIMEOUT', 'STORAGE_FULL', 'RATE_LIMIT', 'INTERNAL', 'USER_LIMIT']);
const OPEN_DRAFT = 'open-draft';

const form = /** @type {HTMLFormElement} */ (byId('upload'));
const area = /** @type {HTMLTextAreaElement} */ (byId('script'));
const nameField = /** @type {HTMLInputElement} */ (byId('name'));
const fileField = /** @type {HTMLInputElement} */ (byId('filename-field'));
const button = /** @type {HTMLButtonElement} */ (byId('submit'));
const picker = /** @type {HTMLInputElement} */ (byId('file'));
const drop = /** @type {HTMLElement} */ (byId('drop'));
const notice = /** @type {HTMLElement} */ (byId('draft-notice'));
const progress = /** @type {HTMLElement} */ (byId('progress'));

const drafts = new Drafts(localStorageOrNone(), randomId());
let id = randomId();
/** @type {string | null} Of the request that was sent with what stands here now. */
let key = null;
/** Whether anything was written here: what was only looked at is no draft. */
let touched = false;
/** @type {import('../editor/editor.js').Editor | null} */
let editor = null;
/** @type {Set<string>} */
let elsewhere = new Set();
let timer = 0;
let checkedAt = 0;
let sending = false;
/** @type {AbortController | null} The check that is on its way; a newer one takes its place. */
let checking = null;

const parameters = () => /** @type {HTMLElement} */ (byId('parameters'));
const script = () => editor?.text ?? area.value;
const size = () => new TextEncoder().encode(script()).length;

/** @returns {Storage} One that forgets, where the browser's is forbidden. */
function localStorageOrNone() {
  try {
    return localStorage;
  } catch {
    const kept = new Map();
    return /** @type {any} */ ({
      get length() {
        return kept.size;
      },
      key: (i) => [...kept.keys()][i] ?? null,
      getItem: (name) => kept.get(name) ?? null,
      setItem: (name, value) => kept.set(name, value),
      removeItem: (name) => kept.delete(name),
    });
  }
}

function remember(name) {
  try {
    if (name) sessionStorage.setItem(OPEN_DRAFT, name);
    else sessionStorage.removeItem(OPEN_DRAFT);
  } catch {
    // Forbidden: after a reload the newest draft is taken.
  }
}

function say(text, ...more) {
  notice.replaceChildren(icon('info'), h('span', {}, text, ...more));
  notice.hidden = text === '';
}

function showDrafts() {
  const others = drafts.list().filter((draft) => draft.id !== id);
  listDrafts(others, elsewhere, {
    open: (name) => open(name),
    drop: (name) => {
      const draft = drafts.read(name);
      drafts.drop(name);
      showDrafts();
      if (draft) toast('The draft is deleted.', { action: { label: 'Undo', run: () => (drafts.put(draft), showDrafts()) } });
    },
  });
}

const content = () => ({ script: script(), name: nameField.value, filename: fileField.value, parameters: typedIn(parameters()), place: location.search, key });

/** Keep what stands here; nothing where nothing does. */
function keep() {
  if (!touched) return;
  const now = content();
  if (now.script.trim() === '' && now.name === '') {
    if (drafts.read(id)?.writer === drafts.writer) drafts.drop(id);
    remember('');
    return;
  }
  const kept = drafts.write(id, now);
  if (kept === null) {
    say('This draft is not kept: the browser has no room for it. Save it as a file.');
    return;
  }
  if (kept !== id) {
    id = kept;
    say('The draft is open in another tab too. Yours is kept as one of its own.');
    showDrafts();
  }
  remember(id);
}

/** Something was written: keep it at once and check it soon. */
function changed() {
  area.value = script();
  touched = true;
  key = null;
  checking?.abort();
  byId('refused')?.replaceChildren();
  label('Queue the experiment');
  const n = size();
  setText(byId('size'), n > LARGEST * WARN_FROM ? `${bytes(n)} of ${bytes(LARGEST)}` : '');
  clearTimeout(timer);
  timer = window.setTimeout(() => {
    keep();
    check();
  }, CHECK_AFTER);
}

function goTo(line, column) {
  if (editor) editor.goTo(line, column);
  else area.focus();
}

function verdict(picture, text) {
  byId('verdict')?.replaceChildren(icon(picture), h('span', {}, text));
}

function fields() {
  area.value = script();
  return new FormData(form);
}

/** Ask what is wrong with it, where it can run and when; an answer to what was changed since is dropped. */
async function check() {
  checking?.abort();
  const mine = new AbortController();
  checking = mine;
  checkedAt = Date.now();
  const given = fields();
  given.set('action', 'check');
  if (script().trim() === '') {
    for (const part of ['problems', 'fits', 'ahead']) byId(part)?.replaceChildren();
    verdict('info', 'Write, drop a file, or take an example.');
    editor?.show([]);
    return;
  }
  byId('verdict')?.setAttribute('aria-busy', 'true');
  try {
    const { parts } = await post(given, { signal: mine.signal });
    if (mine.signal.aborted) return;
    if (!isParts(parts)) throw new LostError('The portal refused.');
    // Why it was not queued stays until something is changed.
    parts.getElementById('refused')?.remove();
    showParts(parts);
  } catch (error) {
    if (mine.signal.aborted) return;
    verdict('unlink', `Not checked: ${error.message} What you wrote is kept.`);
  } finally {
    if (checking === mine) byId('verdict')?.removeAttribute('aria-busy');
  }
}

function showParts(parts) {
  show(parts);
  judgeAll(parameters());
  nameField.placeholder = byId('verdict')?.dataset.name ?? '';
  writeTimes();
  editor?.show(problemsIn(document));
}

/** Begin another draft; the one before stays and can be taken back. */
function begin(text, { file = '', name = '', typed = {}, said = '' } = {}) {
  const before = content();
  const previous = id;
  keep();
  id = randomId();
  put({ script: text, filename: file, name, parameters: typed });
  changed();
  showDrafts();
  if (before.script.trim() !== '' && said) toast(said, { action: { label: 'Undo', run: () => open(previous) } });
}

function put({ script: text, filename, name, parameters: typed }) {
  restoreIn(parameters(), typed);
  nameField.value = name;
  fileField.value = filename;
  setText(byId('filename'), filename);
  if (editor) editor.text = text;
  area.value = text;
}

/** Open a draft in place of what stands here, which stays a draft. */
function open(name) {
  if (drafts.read(id)?.writer === drafts.writer) keep();
  const draft = drafts.take(name);
  if (!draft) return;
  id = draft.id;
  say('');
  put(draft);
  changed();
  key = draft.key;
  showDrafts();
}

function openFile(text, name) {
  begin(text, { file: name, typed: typedIn(parameters()), said: `“${name}” is in the editor.` });
}

function busy(isBusy) {
  sending = isBusy;
  button.disabled = isBusy;
  button.toggleAttribute('aria-busy', isBusy);
  progress.hidden = !isBusy;
}

function sent(share) {
  const bar = /** @type {HTMLProgressElement} */ (byId('progress-bar'));
  if (share < 1) bar.value = share;
  else bar.removeAttribute('value');
  setText(byId('progress-text'), share < 1 ? 'Sending' : 'Sent. The hub checks it and writes it down');
}

function label(text) {
  if (button.textContent?.trim() === text) return;
  button.replaceChildren(icon(text === 'Try again' ? 'refresh' : 'upload'), ` ${text}`);
}

/** Queue it. The key is kept with the draft: sent again after a lost answer it is queued once. */
async function submit() {
  if (sending) return;
  clearTimeout(timer);
  checking?.abort();
  key ??= randomId();
  touched = true;
  const given = fields();
  given.set('request_id', key);
  keep();
  busy(true);
  sent(0);
  try {
    const { location: target, status, parts } = await post(given, { progress: sent });
    if (target) {
      drafts.drop(id);
      remember('');
      location.href = target;
      return;
    }
    if (isParts(parts)) showParts(parts);
    else throw new LostError(`The portal answered ${status}.`);
    const code = /** @type {HTMLElement | null} */ (document.querySelector('#refused [data-code]'))?.dataset.code ?? '';
    if (code !== 'UNAVAILABLE' && code !== 'TIMEOUT') key = null;
    label(LATER.has(code) ? 'Try again' : 'Queue the experiment');
    keep();
    /** @type {HTMLElement | null} */ (document.querySelector('#problems .error .go, .parameter [aria-invalid="true"]'))?.focus();
  } catch (error) {
    label('Try again');
    byId('refused')?.replaceChildren(h('p', { class: 'wrong' }, icon('unlink'), h('span', {}, `${error.message} Your draft is kept; trying again queues it once, even if it got through.`)));
  }
  busy(false);
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  submit();
});
form.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    submit();
  }
});
form.addEventListener('input', ({ target }) => {
  if (target !== picker) changed();
});
byId('problems')?.parentElement?.addEventListener('click', (event) => {
  const go = /** @type {Element} */ (event.target).closest('a.go');
  const item = /** @type {HTMLElement | null} */ (go?.closest('li') ?? null);
  if (!item) return;
  event.preventDefault();
  goTo(Number(item.dataset.line), Number(item.dataset.column) || null);
});
byId('clear')?.addEventListener('click', () => {
  begin('', { said: 'The editor is empty; what you wrote is among your drafts.' });
  editor?.focus();
});
byId('choose')?.addEventListener('click', () => picker.click());
takeFiles(picker, drop, openFile);
byId('examples')?.addEventListener('click', (event) => {
  const link = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest('[data-example]'));
  const { example = '' } = link?.dataset ?? {};
  const text = document.querySelector(`[data-script="${CSS.escape(example)}"]`)?.textContent;
  if (!text) return;
  event.preventDefault();
  begin(text, { file: `${example}.py`, said: 'The example is in the editor; your draft is kept.' });
  drop.scrollIntoView({ block: 'nearest' });
});

/** Where a submission would stand changes with the queue and the reactors. */
function lookAgain() {
  if (!document.hidden && !sending && Date.now() - checkedAt > LOOK_AGAIN) check();
}
document.addEventListener('regions', lookAgain);
document.addEventListener('recovered', () => !sending && check());
addEventListener('pagehide', () => {
  if (!sending) keep();
});
addEventListener('storage', ({ key: name }) => {
  if (name?.startsWith('draft:')) showDrafts();
});

const again = () => {
  const [entry] = performance.getEntriesByType('navigation');
  return ['reload', 'back_forward'].includes(/** @type {any} */ (entry)?.type);
};

/** The draft to go on with: this tab's, or the newest that no other tab has open. */
async function chosen() {
  let mine = null;
  try {
    mine = drafts.read(sessionStorage.getItem(OPEN_DRAFT));
  } catch {
    // Forbidden: there is no draft of this tab.
  }
  if (form.dataset.given === 'yes') return mine && mine.place === location.search && again() ? mine : null;
  elsewhere = await openElsewhere();
  if (mine && !elsewhere.has(mine.id)) return mine;
  return drafts.list().find((draft) => !elsewhere.has(draft.id)) ?? null;
}

async function start() {
  takeParameters(form);
  answerTabs(() => id);
  const draft = await chosen();
  if (draft && area.value !== '' && form.dataset.given !== 'yes') begin(area.value);
  else if (draft) {
    id = draft.id;
    drafts.take(id);
    put(draft);
    key = draft.key;
    say(`Your draft “${titleOf(draft)}”, from ${ago(new Date(draft.at))}.`, ' ', h('button', { class: 'as-link', type: 'button', onclick: () => (say(''), begin('')) }, 'Start a new one'));
  }
  const host = /** @type {HTMLElement} */ (byId('editor'));
  try {
    const [{ Editor }, sdk] = await Promise.all([
      import('../editor/editor.js'),
      fetch(/** @type {string} */ (form.dataset.sdk)).then((answer) => (answer.ok ? answer.json() : [])),
    ]);
    host.hidden = false;
    editor = new Editor(host, {
      text: area.value,
      label: 'The script',
      hint: 'Write Python here, drop a file, or take an example.',
      changed: () => changed(),
      channels: () => [...live.latest].filter(([topic]) => topic.endsWith('/channels')).flatMap(([, payload]) => payload.channels),
      sdk,
    });
    area.hidden = true;
  } catch {
    host.hidden = true;
  }
  document.documentElement.dataset.upload = 'ready';
  showDrafts();
  check();
}

start();
