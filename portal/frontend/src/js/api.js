// @ts-check
// Calls to the portal's REST interface. A refusal becomes an ApiError that carries the contract's
// error: code, message, hint, details.

export class ApiError extends Error {
  /** @param {{code: string, message: string, hint?: string, details?: any}} error @param {number} status */
  constructor(error, status) {
    super(error.message);
    this.code = error.code;
    this.hint = error.hint ?? '';
    this.details = error.details ?? {};
    this.status = status;
  }
}

async function refusal(response) {
  const body = await response.json().catch(() => null);
  if (body?.error?.message) return new ApiError(body.error, response.status);
  const detail = typeof body?.detail === 'string' ? body.detail : `The portal answered ${response.status}.`;
  return new ApiError({ code: 'INTERNAL', message: detail }, response.status);
}

/** Call and return the JSON of the answer. */
export async function call(path, { method = 'GET', body = undefined, headers = {}, timeout = 15_000, cache = /** @type {RequestCache} */ ('no-store') } = {}) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: { Accept: 'application/json', ...(body === undefined ? {} : { 'Content-Type': 'application/json' }), ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
      cache,
      signal: AbortSignal.timeout(timeout),
    });
  } catch (error) {
    const late = error instanceof DOMException && error.name === 'TimeoutError';
    throw new ApiError(
      late
        ? { code: 'TIMEOUT', message: 'The portal took too long to answer.', hint: 'Look whether it was done before you try again.' }
        : { code: 'UNAVAILABLE', message: 'The portal cannot be reached.', hint: 'Try again in a moment.' },
      0,
    );
  }
  if (!response.ok) throw await refusal(response);
  return response.json();
}

/** POST and return the JSON of the answer. */
export function post(path, body = undefined, headers = {}) {
  return call(path, { method: 'POST', body, headers });
}
