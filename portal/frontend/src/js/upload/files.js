// @ts-check
// A script from a file: chosen, or dropped anywhere on the page.
import { bytes } from '../format.js';
import { toast } from '../toasts.js';

/** Bytes of a script, as `MAX_SCRIPT_BYTES` of the contract. */
export const LARGEST = 256 * 1024;

const hasFile = (event) => [...(event.dataTransfer?.types ?? [])].includes('Files');

/** @param {File | undefined} file @param {(text: string, name: string) => void} open */
async function read(file, open) {
  if (!file) return;
  if (file.size > LARGEST) {
    toast(`“${file.name}” has ${bytes(file.size)}; a script has at most ${bytes(LARGEST)}.`, { bad: true, hint: 'Keep data out of the script: it can be made or loaded when it runs.' });
    return;
  }
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(await file.arrayBuffer());
    open(text.replaceAll('\r\n', '\n'), file.name);
  } catch {
    toast(`“${file.name}” is not text in UTF-8.`, { bad: true, hint: 'Save it as UTF-8 and try again.' });
  }
}

/**
 * Take files from the picker and from wherever they are dropped.
 * @param {HTMLInputElement} picker @param {HTMLElement} drop Shows that a file may be let go.
 * @param {(text: string, name: string) => void} open
 */
export function takeFiles(picker, drop, open) {
  picker.addEventListener('change', async () => {
    const file = picker.files?.[0];
    await read(file, open);
    picker.value = '';
  });
  let inside = 0;
  const move = (by) => {
    inside = Math.max(0, inside + by);
    drop.classList.toggle('dropping', inside > 0);
  };
  addEventListener('dragenter', (event) => hasFile(event) && move(1));
  addEventListener('dragleave', (event) => hasFile(event) && move(-1));
  // While they are captured, so that the editor does not take them for text.
  addEventListener('dragover', (event) => hasFile(event) && event.preventDefault(), true);
  addEventListener(
    'drop',
    (event) => {
      if (!hasFile(event)) return;
      event.preventDefault();
      event.stopPropagation();
      move(-inside);
      read(event.dataTransfer?.files[0], open);
    },
    true,
  );
}
