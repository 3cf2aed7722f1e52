// @ts-check
// Stands in place of a page that could not be had; goes there as soon as the portal answers.
import { byId, setText } from '../dom.js';
import { clock } from '../format.js';

const EVERY = 5000;

setText(byId('since'), clock(new Date()));
setInterval(async () => {
  try {
    const { ok } = await fetch('/health/live', { cache: 'no-store', signal: AbortSignal.timeout(EVERY) });
    if (ok) location.reload();
  } catch {
    // Not yet.
  }
}, EVERY);
