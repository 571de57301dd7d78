// Live streams (htmx's SSE extension) that are polite and patient:
//   - a tab nobody looks at gives its connection back after a while (a browser has six for each site), and asks for
//     what it missed when it is looked at again;
//   - while a stream does not come through, elements that listen to `live:poll` are asked again every five seconds;
//   - news waits while a menu, a dialog or a form in place is open, so that nothing moves away under the pointer; then
//     the elements concerned hear `live:late`.
import htmx from 'htmx.org';

import { isNews } from './requests.js';

const HIDDEN_MS = 30_000;
const POLL_MS = 5_000;
const BUSY = '.menu:popover-open, dialog[open], #edit-form';
const dry = new Set();
const late = new Set();

export function startLive() {
  htmx.createEventSource = (url) => new PatientSource(url);
  document.addEventListener('htmx:afterProcessNode', (event) => {
    if (event.target.matches?.('[data-live]')) dry.add(event.target);
  });
  document.addEventListener('htmx:sseOpen', (event) => dry.delete(event.target));
  document.addEventListener('htmx:sseError', (event) => dry.add(event.target));
  setInterval(poll, POLL_MS);
  document.addEventListener('htmx:beforeSwap', hold);
  // `toggle` and `close` do not bubble.
  for (const end of ['toggle', 'close', 'htmx:afterSettle']) document.addEventListener(end, letGo, true);
}

function hold(event) {
  if (!isNews(event) || !document.querySelector(BUSY)) return;
  event.detail.shouldSwap = false;
  late.add(event.detail.elt.id);
}

function letGo() {
  if (!late.size || document.querySelector(BUSY)) return;
  const ids = [...late];
  late.clear();
  for (const id of ids) {
    const part = document.getElementById(id);
    if (part) htmx.trigger(part, 'live:late');
  }
}

function poll() {
  for (const root of dry) {
    if (!root.isConnected) dry.delete(root);
    else if (!document.hidden) {
      const listening = [root, ...root.querySelectorAll('[hx-trigger]')];
      for (const part of listening) if (part.getAttribute('hx-trigger')?.includes('live:poll')) htmx.trigger(part, 'live:poll');
    }
  }
}

/** An EventSource that rests while its page is hidden. Resuming, it names the last event it saw as `since`. */
class PatientSource {
  #url;
  #source = null;
  #listeners = [];
  #last = '';
  #closed = false;
  #timer;

  constructor(url) {
    this.#url = new URL(url, location.href);
    document.addEventListener('visibilitychange', this.#looked);
    this.#open();
  }

  get readyState() {
    if (this.#closed) return EventSource.CLOSED;
    return this.#source?.readyState ?? EventSource.CONNECTING;
  }

  addEventListener(type, listener) {
    this.#listeners.push([type, listener]);
    this.#source?.addEventListener(type, this.#noting);
    this.#source?.addEventListener(type, listener);
  }

  removeEventListener(type, listener) {
    this.#listeners = this.#listeners.filter(([t, l]) => t !== type || l !== listener);
    this.#source?.removeEventListener(type, listener);
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    document.removeEventListener('visibilitychange', this.#looked);
    this.#source?.close();
  }

  #open() {
    if (this.#last) this.#url.searchParams.set('since', this.#last);
    this.#source = new EventSource(this.#url);
    for (const [type, listener] of this.#listeners) {
      this.#source.addEventListener(type, this.#noting);
      this.#source.addEventListener(type, listener);
    }
    this.#source.onopen = (event) => this.onopen?.(event);
    this.#source.onerror = (event) => {
      if (this.#source.readyState === EventSource.CLOSED) this.close(); // its owner makes a new one, later and later
      this.onerror?.(event);
    };
  }

  #noting = (event) => {
    this.#last = event.lastEventId || this.#last;
  };

  #looked = () => {
    clearTimeout(this.#timer);
    if (document.hidden) {
      this.#timer = setTimeout(() => {
        this.#source.close();
        this.#source = null;
      }, HIDDEN_MS);
    } else if (!this.#source) this.#open();
  };
}
