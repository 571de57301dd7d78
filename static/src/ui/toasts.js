// Short messages in a corner. The server sends them with
//   HX-Trigger: {"toast": {"message": "…", "kind": "good|error|info", "undo_url": "…", "undo_label": "Undo"}}
// and they survive a page change: what is still to be read is shown again on the next page.
import htmx from 'htmx.org';

import { element, icon } from './dom.js';

const READ_MS = 5_000;
const UNDO_MS = 10_000;
const LEFT_MS = 60_000;
const KEY = 'toasts';
const live = new Map();

export function startToasts() {
  // htmx adds the element to the details, and that cannot be kept for the next page.
  document.body.addEventListener('toast', ({ detail: { message, kind, undo_url, undo_label } }) => toast({ message, kind, undo_url, undo_label }));
  for (const { until, ...message } of kept()) {
    if (until > Date.now()) toast(message, Math.min(until - Date.now(), UNDO_MS));
  }
}

/**
 * What is on the page already in the same words stays longer instead of standing there twice.
 * @param {{message: string, kind?: string, undo_url?: string, undo_label?: string}} message
 */
export function toast(message, lifetime = message.undo_url ? UNDO_MS : READ_MS) {
  const same = [...live].find(([, { message: said, timer }]) => timer && !message.undo_url && !said.undo_url && said.message === message.message);
  if (same) {
    run(same[0], lifetime);
    return same[0];
  }
  const words = element('p', {}, message.message);
  const close = element('button', { type: 'button', class: 'btn', 'data-variant': 'ghost', 'data-size': 'icon-sm', 'aria-label': 'Dismiss' }, icon('x'));
  const box = element('div', { class: 'toast', 'data-kind': message.kind ?? 'info' });
  if (message.kind === 'error') box.append(icon('circle-alert'));
  if (message.kind === 'good') box.append(icon('circle-check'));
  box.append(words);
  if (message.undo_url) {
    const undo = element('button', { type: 'button', class: 'btn', 'data-variant': 'outline', 'data-size': 'sm' }, message.undo_label ?? 'Undo');
    undo.addEventListener('click', () => {
      remove(box);
      htmx.ajax('POST', message.undo_url, { swap: 'none' }).then(() => document.body.dispatchEvent(new CustomEvent('toast:undone', { detail: message })));
    });
    box.append(undo);
  }
  box.append(close);
  close.addEventListener('click', () => remove(box));
  for (const pause of ['mouseenter', 'focusin']) box.addEventListener(pause, () => hold(box));
  for (const go of ['mouseleave', 'focusout']) box.addEventListener(go, () => run(box, READ_MS));
  live.set(box, { message });
  document.querySelector('[data-toasts]').append(box);
  run(box, lifetime);
  return box;
}

/**
 * A message that stays while something goes on. `say` changes its words, and what the next page is to say if this one is
 * left meanwhile; `end` takes it away.
 */
export function lasting() {
  const said = element('p', {});
  const box = element('div', { class: 'toast', 'data-kind': 'info' }, said);
  document.querySelector('[data-toasts]').append(box);
  return {
    say(words, left) {
      said.textContent = words;
      live.set(box, { message: { message: left }, until: Date.now() + LEFT_MS });
      keep();
    },
    end: () => remove(box),
  };
}

function run(box, lifetime) {
  const entry = live.get(box);
  if (!entry) return;
  clearTimeout(entry.timer);
  entry.until = Date.now() + lifetime;
  entry.timer = setTimeout(() => remove(box), lifetime);
  keep();
}

function hold(box) {
  clearTimeout(live.get(box)?.timer);
}

function remove(box) {
  clearTimeout(live.get(box)?.timer);
  live.delete(box);
  box.remove();
  keep();
}

function keep() {
  const rest = [...live.values()].map(({ message, until }) => ({ ...message, until }));
  try {
    sessionStorage.setItem(KEY, JSON.stringify(rest));
  } catch {
    // Storage is blocked: messages end with the page.
  }
}

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? '[]');
  } catch {
    return [];
  }
}
