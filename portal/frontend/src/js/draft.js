// @ts-check
// What somebody was writing survives a reload, in this browser only.
import { memory } from './dom.js';

const KEY = 'upload-draft';

/** @typedef {{script: string, name: string, filename: string, parameters: Record<string, boolean | number | string>}} Draft */

/** @param {Draft} draft */
export function saveDraft(draft) {
  memory.set(KEY, JSON.stringify(draft));
}

/** @returns {Draft | null} */
export function loadDraft() {
  try {
    const draft = JSON.parse(memory.get(KEY) ?? 'null');
    return draft && typeof draft.script === 'string' ? { name: '', filename: '', parameters: {}, ...draft } : null;
  } catch {
    return null;
  }
}

export function dropDraft() {
  memory.set(KEY, null);
}
