// What htmx's answers mean for the page: errors become a toast in the server's own words, JSON is never swapped in,
// and a form that is on its way cannot be sent twice.
import { toast } from './toasts.js';

const NO_ANSWER = 'The server did not answer. Check your connection and try again.';
const NO_NEWS = 'The server does not answer. This page asks again by itself.';

export function startRequests() {
  // What the page asked for by itself is not ours any more, as when somebody was removed from a project: the whole page
  // says so better than a toast every few seconds.
  document.addEventListener('htmx:beforeOnLoad', (event) => {
    const { xhr, requestConfig } = event.detail;
    if (![403, 404].includes(xhr.status) || requestConfig.triggeringEvent?.type !== 'live:poll') return;
    event.preventDefault();
    location.reload();
  });
  document.addEventListener('htmx:beforeSwap', (event) => {
    const type = event.detail.xhr.getResponseHeader('Content-Type') ?? '';
    if (event.detail.shouldSwap && event.detail.xhr.response && !type.startsWith('text/html')) {
      event.detail.shouldSwap = false;
      if (event.detail.xhr.status >= 400) event.detail.isError = true;
    }
  });
  document.addEventListener('htmx:responseError', (event) => {
    if (isNews(event) && event.detail.xhr.status >= 500) toast({ kind: 'info', message: NO_NEWS });
    // The server's own toast came with the answer already.
    else if (!event.detail.xhr.getResponseHeader('HX-Trigger')) toast({ kind: 'error', message: words(event.detail.xhr) });
  });
  for (const none of ['htmx:sendError', 'htmx:timeout']) {
    document.addEventListener(none, (event) => toast(isNews(event) ? { kind: 'info', message: NO_NEWS } : { kind: 'error', message: NO_ANSWER }));
  }
  document.addEventListener('submit', (event) => {
    if (event.defaultPrevented) return;
    const button = event.submitter;
    if (button?.matches('.btn')) button.setAttribute('aria-busy', 'true');
  });
  // The back button may show a page from memory with its buttons still busy.
  window.addEventListener('pageshow', () => {
    for (const button of document.querySelectorAll('[aria-busy="true"]')) button.removeAttribute('aria-busy');
  });
}

/** Whether nobody asked for it but the page itself (live.js). */
export function isNews({ detail: { requestConfig } }) {
  return /^(sse|live):/.test(requestConfig.triggeringEvent?.type ?? '');
}

function words(xhr) {
  try {
    return JSON.parse(xhr.responseText).error.message;
  } catch {
    return xhr.status >= 500 ? 'Something failed on the server. Nothing was changed; try again.' : 'That did not work.';
  }
}
