// The admins' pages: what is looked at stays fresh, and many jobs are retried or cancelled at once.
//   data-tick="/path"   every two seconds, while somebody looks, the parts in it (data-part, with an id) are fetched
//                       again; those that changed are replaced, the rest is left alone
import htmx from 'htmx.org';

import { confirm } from './ui/confirm.js';
import { lasting, toast } from './ui/toasts.js';

const TICK_MS = 2_000;
const TYPING_MS = 300;
const BUSY = '.menu:popover-open, dialog[open]';
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });

// --- fresh parts ------------------------------------------------------------------------------------------------------

let pressed = false; // a part that is replaced between press and release would swallow the click
let leaving = false; // what fails because the page ends is no failure
addEventListener('pointerdown', () => { pressed = true; }, true);
addEventListener('keydown', (event) => { pressed ||= event.key === ' ' || event.key === 'Enter'; }, true);
for (const name of ['pointerup', 'pointercancel', 'keyup', 'blur']) addEventListener(name, release, true);
addEventListener('pointermove', (event) => event.buttons || (pressed && release(event)), true);
addEventListener('pagehide', () => { leaving = true; });
addEventListener('pageshow', () => { leaving = false; });

function release({ type, target }) {
  if (type === 'blur' && target !== window) return;
  setTimeout(() => { pressed = false; }); // the click comes after
}

const shown = new WeakMap(); // element → the markup it was made of
const asking = new Set();

function isBusy() {
  return pressed || document.hidden || document.querySelector(BUSY) || document.querySelector('#jobs.htmx-request');
}

function tick() {
  for (const root of document.querySelectorAll('[data-tick]')) if (root.dataset.tick) refresh(root);
}

async function refresh(root) {
  const url = root.dataset.tick;
  if (asking.has(url) || isBusy()) return;
  asking.add(url);
  try {
    const answer = await fetch(url, { headers: { Accept: 'text/html' }, signal: AbortSignal.timeout(15_000) });
    if (answer.redirected) location.reload(); // signed out
    else if (answer.ok) {
      const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
      if (root.isConnected && root.dataset.tick === url && !isBusy()) replace(root, fresh.body);
    }
  } catch {
    // The server is away: what is shown stays, and the next look tries again.
  } finally {
    asking.delete(url);
  }
}

function replace(root, fresh) {
  const before = new Map([...root.querySelectorAll('[data-part]')].map((part) => [part.id, part]));
  const held = document.activeElement?.id;
  for (const part of fresh.querySelectorAll('[data-part]')) {
    const old = before.get(part.id);
    const markup = part.outerHTML;
    // What an answer is awaited for stays until it came: it would find nobody.
    if (!old || shown.get(old) === markup || old.querySelector('.htmx-request')) continue;
    for (const folded of old.querySelectorAll('details[open][id]')) {
      part.querySelector(`#${CSS.escape(folded.id)}`)?.setAttribute('open', '');
    }
    old.replaceWith(part);
    shown.set(part, markup);
    htmx.process(part);
    part.dispatchEvent(new CustomEvent('htmx:load', { bubbles: true }));
  }
  if (held && document.activeElement === document.body) document.getElementById(held)?.focus({ preventScroll: true });
  showSelection();
  if (!document.querySelector('.job-rows')) document.querySelector('#show-newer')?.click(); // nothing there to lose
}

setInterval(tick, TICK_MS);
document.addEventListener('visibilitychange', tick);
document.addEventListener('close', tick, true);
document.body.addEventListener('admin:changed', tick);
document.addEventListener('htmx:load', (event) => showClocks(event.target));
showClocks(document);

function showClocks(within) {
  for (const time of within.querySelectorAll('time[data-clock]')) time.textContent = clock.format(new Date(time.dateTime));
}

// --- search: the list follows the typing, and the address too ----------------------------------------------------------

const search = document.querySelector('[data-find]');
let typing;

search?.addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(find, TYPING_MS);
});
search?.addEventListener('submit', (event) => {
  event.preventDefault();
  event.stopPropagation();
  clearTimeout(typing);
  find();
});
document.addEventListener('click', (event) => {
  if (event.target.closest('[data-clear-find]')) search.elements.text.value = '';
});

function find() {
  const url = new URL(location.href);
  const words = search.elements.text.value.trim();
  if (words === (url.searchParams.get('text') ?? '')) return;
  url.searchParams.delete('cursor');
  if (words) url.searchParams.set('text', words);
  else url.searchParams.delete('text');
  const target = `${url.pathname}${url.search}`;
  history.replaceState({ htmx: true }, '', target);
  htmx.ajax('GET', target, { source: '#jobs', target: '#jobs', swap: 'innerHTML show:none' });
}

// --- many at once -----------------------------------------------------------------------------------------------------

const picked = new Set();
const VERBS = {
  retry: { ask: (what) => `Retry ${what}`, of: () => 'failed', done: 'queued again', kind: 'plain', none: 'There is no failed job to retry.' },
  restart: { ask: (what) => `Start ${what} again`, of: () => 'cancelled', done: 'started again', kind: 'plain', none: 'There is no cancelled job to start again.' },
  cancel: {
    ask: (what) => `Cancel ${what}`,
    of: (state) => ({ queued: 'waiting', running: 'running' })[state] ?? 'waiting and running',
    done: 'cancelled or stopping',
    kind: 'danger',
    none: 'There is no waiting or running job to cancel.',
  },
};
let acting = false;

addEventListener('beforeunload', (event) => acting && event.preventDefault());

document.addEventListener('change', (event) => {
  if (event.target.matches('[data-pick]')) {
    if (event.target.checked) picked.add(event.target.value);
    else picked.delete(event.target.value);
  } else if (event.target.matches('[data-select-page]')) {
    for (const box of boxes()) {
      if (event.target.checked) picked.add(box.value);
      else picked.delete(box.value);
    }
  } else return;
  showSelection();
});
document.addEventListener('htmx:afterSettle', (event) => {
  if (event.target.id === 'jobs') picked.clear();
  showSelection();
});

function boxes() {
  return [...document.querySelectorAll('[data-pick]')];
}

function showSelection() {
  const bar = document.querySelector('[data-bulk]');
  if (!bar) return;
  const all = boxes();
  for (const box of all) box.checked = picked.has(box.value);
  const page = bar.querySelector('[data-select-page]');
  page.checked = all.length > 0 && picked.size === all.length;
  page.indeterminate = picked.size > 0 && !page.checked;
  bar.querySelector('[data-selected]').textContent = picked.size ? `${picked.size} selected` : 'Select all on this page';
  bar.querySelector('[data-for-selection]').hidden = !picked.size;
  bar.querySelector('[data-for-all]').hidden = picked.size > 0;
}

document.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-bulk-action]');
  if (!button || button.getAttribute('aria-busy')) return;
  button.setAttribute('aria-busy', 'true');
  try {
    await actOnMany(button);
  } catch (error) {
    if (!leaving) toast({ kind: 'error', message: error.message });
  } finally {
    button.removeAttribute('aria-busy');
    tick();
  }
});

async function actOnMany(button) {
  const action = button.dataset.bulkAction;
  const verb = VERBS[action];
  const filter = JSON.parse(button.closest('[data-bulk]').dataset.filter);
  const what = button.dataset.scope === 'selected' ? { ids: [...picked] } : { filter };
  const found = what.ids
    ? { number: what.ids.length, exact: true }
    : await ask(`/api/admin/jobs/count?${new URLSearchParams({ ...filter, action })}`);
  if (!found.number) {
    toast({ message: verb.none });
    return;
  }
  const said = `${found.exact ? '' : 'more than '}${jobs(found.number)}`;
  const chosen = Object.entries(filter).filter(([name]) => name !== 'state').map(([name, value]) => `${name}: ${value}`);
  const text = what.ids ? 'Those you have selected. Jobs that have moved on are left alone.'
    : `All ${verb.of(filter.state)} jobs ${chosen.length ? `that match ${chosen.join(', ')}` : 'of every queue, project and owner'}.`;
  const asked = verb.ask(said);
  const keep = action === 'cancel' ? { confirmKeep: found.number === 1 ? 'Keep it' : 'Keep them' } : {};
  if (!(await confirm({ confirm: `${asked}?`, confirmText: text, confirmOk: asked, confirmKind: verb.kind, ...keep }))) return;
  const { done, skipped } = await carryOut(verb, { action, ...what }, said.replace(/ jobs?$/, ''));
  picked.clear();
  const rest = skipped ? ` ${jobs(skipped)} could not be: what they worked on has moved on.` : '';
  toast({ kind: done ? 'good' : 'error', message: `${done ? jobs(done) : 'No job'} ${done > 1 ? 'were' : 'was'} ${verb.done}.${rest}` });
  document.body.dispatchEvent(new CustomEvent('admin:changed'));
}

/** Ask for lot after lot until all is done. An error says how much was. */
async function carryOut(verb, order, number) {
  let done = 0;
  let skipped = 0;
  let answer = {};
  const progress = lasting();
  acting = true;
  try {
    do {
      progress.say(
        `${(done + skipped).toLocaleString('en')} of ${number} so far. Stay on this page.`,
        `The page was left: ${done.toLocaleString('en')} of ${number} jobs, or a few more, were ${verb.done}. Do it again to go on.`,
      );
      answer = await ask('/api/admin/jobs/bulk', { ...order, cursor: answer.cursor, order: answer.order });
      done += answer.done;
      skipped += answer.skipped;
    } while (answer.more);
  } catch (error) {
    if (leaving || !(done + skipped)) throw error;
    throw new Error(`${done.toLocaleString('en')} of ${number} jobs were ${verb.done}, then: ${error.message} Do it again to go on.`);
  } finally {
    acting = false;
    if (!leaving) progress.end();
  }
  return { done, skipped };
}

function jobs(number) {
  return `${number.toLocaleString('en')} ${number === 1 ? 'job' : 'jobs'}`;
}

async function ask(url, body) {
  const options = body ? { method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } } : {};
  const answer = await fetch(url, { ...options, headers: { Accept: 'application/json', ...options.headers } }).catch(() => {
    throw new Error('The server did not answer. Check your connection.');
  });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error?.message ?? 'That did not work.');
  return said;
}
