// Calls to our own API. The browser's session is a cookie: there is nothing to add.

export class ApiError extends Error {
  /** @param {{code: string, status?: number, message?: string, fields?: object}} detail */
  constructor({ code, status = 0, message = '', fields }) {
    super(message);
    Object.assign(this, { code, status, fields });
  }
}

/** Call the API; answers the parsed body. Throws ApiError, with code `network` when no answer came. */
export async function call(method, path, body) {
  const headers = { Accept: 'application/json' };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let response;
  try {
    response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new ApiError({ code: 'network' });
  }
  if (response.status === 204) return null;
  const answer = await response.json().catch(() => null);
  if (response.ok) return answer;
  const detail = answer?.error ?? {};
  throw new ApiError({ ...detail, code: detail.code ?? `http_${response.status}`, status: response.status });
}
