// @ts-check
// Posts the upload form. The answer to a check is the parts of the page that it fills; a queued
// experiment is answered with its address.
import { Idiomorph } from 'idiomorph/dist/idiomorph.esm.js';
import { byId, isWriting } from '../dom.js';

const TIMEOUT = 40_000;
const SUBMITS = 201;

/** Nobody answered: whether it was done is not known. */
export class LostError extends Error {}

/**
 * Post the form. Returns the document with the parts, or where the experiment is.
 * @param {FormData} fields @param {{progress?: (share: number) => void, signal?: AbortSignal}} [options]
 * @returns {Promise<{location: string | null, status: number, parts: Document}>}
 */
export function post(fields, { progress, signal } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', '/upload');
    request.setRequestHeader('X-Parts', 'upload');
    request.setRequestHeader('Accept', 'text/html');
    request.timeout = TIMEOUT;
    if (progress) request.upload.onprogress = ({ loaded, total }) => progress(total > 0 ? loaded / total : 0);
    request.onload = () => {
      const location = request.status === SUBMITS ? request.getResponseHeader('Location') : null;
      const parts = new DOMParser().parseFromString(request.responseText, 'text/html');
      resolve({ location, status: request.status, parts });
    };
    const lost = () => reject(new LostError('The portal does not answer.'));
    request.onerror = lost;
    request.ontimeout = lost;
    request.onabort = () => reject(new DOMException('given up', 'AbortError'));
    signal?.addEventListener('abort', () => request.abort());
    request.send(fields);
  });
}

/** Put the parts of an answer into the page. @param {Document} answer */
export function show(answer) {
  for (const fresh of answer.querySelectorAll('[data-part]')) {
    const part = byId(fresh.id);
    if (!part || keepsParameters(fresh, answer)) continue;
    Idiomorph.morph(part, fresh.cloneNode(true), {
      morphStyle: 'outerHTML',
      ignoreActiveValue: isWriting(),
      callbacks: { beforeAttributeUpdated: (name, element) => !(name === 'open' && element.tagName === 'DETAILS') },
    });
  }
}

/** Whether the form of the parameters stays: while the script cannot be read it declares none. */
function keepsParameters(fresh, answer) {
  return fresh.id === 'parameters' && !fresh.querySelector('.parameter') && answer.querySelector('#problems .error') !== null;
}

/** Whether the answer is one of the upload form's. @param {Document} answer */
export function isParts(answer) {
  return answer.querySelector('[data-part]') !== null;
}

/** What is wrong, for the editor. @param {ParentNode} root */
export function problemsIn(root) {
  return [...root.querySelectorAll('#problems li')].map((item) => {
    const { line, column } = /** @type {HTMLElement} */ (item).dataset;
    const said = ['[data-message]', '[data-hint]'].map((part) => item.querySelector(part)?.textContent ?? '');
    return {
      line: Number(line) || null,
      column: Number(column) || null,
      severity: /** @type {'error' | 'warning'} */ (item.classList.contains('error') ? 'error' : 'warning'),
      message: said.join(' ').trim(),
    };
  });
}
