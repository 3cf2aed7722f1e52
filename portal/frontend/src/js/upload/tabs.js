// @ts-check
// Which drafts are open in other tabs of this browser. Only a courtesy: what is written is safe
// without, as drafts.js copies rather than overwrites.

const PATIENCE = 120;
const channel = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel('drafts');

/** Answer other tabs. @param {() => string} current The draft that is open here. */
export function answerTabs(current) {
  channel?.addEventListener('message', ({ data }) => {
    if (data?.ask) channel.postMessage({ open: current() });
  });
}

/** The drafts that are open elsewhere. @returns {Promise<Set<string>>} */
export function openElsewhere() {
  const open = new Set();
  if (!channel) return Promise.resolve(open);
  return new Promise((resolve) => {
    const hear = ({ data }) => {
      if (data?.open) open.add(data.open);
    };
    channel.addEventListener('message', hear);
    channel.postMessage({ ask: true });
    setTimeout(() => {
      channel.removeEventListener('message', hear);
      resolve(open);
    }, PATIENCE);
  });
}
