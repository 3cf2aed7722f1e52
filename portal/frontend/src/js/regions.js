// @ts-check
// The server alone knows how a page looks. When something changed that is more than a number, the
// page is fetched again and its regions are morphed in place: focus, open details, charts and the
// log stay. The same serves as the fall-back without a live connection. A page has the same regions
// at all times, those that have nothing to show hidden: what is not there could not come.
import { Idiomorph } from 'idiomorph/dist/idiomorph.esm.js';
import { byId, isWriting } from './dom.js';

const SPACING = 400;
const RETRY = 2_000;
const LONGEST_RETRY = 30_000;
/** The page is not there any more, or not for who looks at it. */
const GONE = new Set([401, 403, 404]);
/** Whether the hub did not say in time all that the page shows: the page says so of itself. */
const partial = () => rendered()?.dataset.partial !== undefined;
/** What people opened and ticked is theirs. */
const theirs = (name, element) => (/^(DETAILS|DIALOG)$/.test(element.tagName) ? ['open', 'data-shown'].includes(name) : name === 'checked' && element.matches('.mark input'));

let running = false;
let again = false;
let last = 0;
let timer = 0;
let failures = 0;

/** Morph one region into its new form; what is marked `data-keep` belongs to a script. */
function morph(region, fresh) {
  Idiomorph.morph(region, fresh, {
    morphStyle: 'outerHTML',
    ignoreActiveValue: isWriting(),
    callbacks: {
      beforeNodeMorphed: (from) => !(from instanceof Element && from.hasAttribute('data-keep')),
      beforeAttributeUpdated: (name, element) => !theirs(name, element),
    },
  });
}

async function fetchPage() {
  const response = await fetch(location.href, {
    headers: { Accept: 'text/html', 'X-Refresh': '1' },
    cache: 'no-store',
    signal: AbortSignal.timeout(10_000),
  });
  const lost = document.body.dataset.page === 'error';
  if (lost ? response.ok : GONE.has(response.status) || response.redirected) {
    location.reload();
    return;
  }
  if (!response.ok && !lost) throw new Error(`the portal answered ${response.status}`);
  const page = new DOMParser().parseFromString(await response.text(), 'text/html');
  const version = page.documentElement.dataset.version;
  if (version !== document.documentElement.dataset.version && document.body.dataset.page !== 'upload') {
    location.reload();
    return;
  }
  // Another page than the one that is open, as of an experiment that is shown in full now.
  const others = [...page.querySelectorAll('[data-region]')].some(({ id }) => !byId(id));
  if (others) {
    location.reload();
    return;
  }
  for (const region of document.querySelectorAll('[data-region]')) {
    const fresh = page.getElementById(region.id);
    if (fresh && !region.closest('[data-held]')) morph(region, fresh);
  }
  document.dispatchEvent(new CustomEvent('regions'));
}

async function run() {
  clearTimeout(timer);
  timer = 0;
  if (running) {
    again = true;
    return;
  }
  running = true;
  last = Date.now();
  try {
    await fetchPage();
    failures = partial() ? failures + 1 : 0;
    document.dispatchEvent(new CustomEvent('reached', { detail: true }));
  } catch {
    failures += 1;
    document.dispatchEvent(new CustomEvent('reached', { detail: false }));
  } finally {
    running = false;
  }
  if (again) {
    again = false;
    refresh();
  } else if (failures > 0) {
    // What is shown is not what the server has: nobody may say so again.
    if (document.hidden) again = true;
    else timer = window.setTimeout(run, Math.min(LONGEST_RETRY, RETRY * 2 ** (failures - 1)));
  }
}

/** Whether the page answered a form: its address leads elsewhere, or would send the form again. */
const still = () => document.body.dataset.still !== undefined;

/** Bring the regions up to date: at once, or soon if that was just done. */
export function refresh() {
  clearTimeout(timer);
  if (still()) return;
  if (document.hidden) {
    again = true;
    return;
  }
  timer = window.setTimeout(run, Math.max(0, last + SPACING - Date.now()));
}

/**
 * Leave a region as it is while somebody works in it. What it missed comes when it is let go.
 * @param {HTMLElement} region @param {boolean} on
 */
export function hold(region, on) {
  if (on === (region.dataset.held !== undefined)) return;
  if (on) {
    region.dataset.held = '';
  } else {
    delete region.dataset.held;
    refresh();
  }
}

document.addEventListener('visibilitychange', () => {
  if (document.hidden) {
    if (timer) again = true;
    clearTimeout(timer);
    timer = 0;
  } else if (again && !running) {
    again = false;
    refresh();
  }
});

if (partial()) timer = window.setTimeout(refresh, RETRY);

/** The element of the page that says what the server last rendered. */
export function rendered() {
  return byId('state');
}
