// @ts-check
// What every page has. Each page's module imports this first.
import { live } from './live.js';
import { takeCommands } from './commands.js';
import { install } from './install.js';
import { watchSession } from './session.js';
import { takeSheets } from './sheets.js';
import { takeShortcuts } from './shortcuts.js';
import { keepTab } from './tab.js';
import { watchLink } from './link.js';
import { watchMishaps } from './mishaps.js';
import { themes } from './themes.js';
import { keepTimes } from './times.js';
import { watchStructure } from './watch.js';

themes();
keepTimes();
takeCommands();
takeSheets();
takeShortcuts();
keepTab();
install();
watchLink();
watchStructure();
watchSession();
watchMishaps();

document.addEventListener('click', (event) => {
  const button = /** @type {Element} */ (event.target).closest('[data-dismiss]');
  button?.parentElement?.remove();
});

// Subscriptions of the page's own module are made first, so that they go in one frame.
queueMicrotask(() => live.start());

export { live };
