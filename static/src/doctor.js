// The doctor's page: copies how to mend something, and makes the checks that only a browser can make. This script
// measures; the server judges, and answers the group of findings to show.
import { toast } from './ui/toasts.js';

const STREAM_MS = 8_000;
const place = document.getElementById('from-browser');
const findings = document.getElementById('findings');

document.addEventListener('click', async ({ target }) => {
  const copy = target.closest('[data-copy-text]');
  if (copy) {
    try {
      await navigator.clipboard.writeText(copy.dataset.copyText);
      toast({ kind: 'good', message: 'Copied.' });
    } catch {
      toast({ kind: 'error', message: 'The browser did not let the page copy. Select the words instead.' });
    }
  } else if (target.closest('[data-run-again]')) run();
});

if (place?.dataset.errand) run();

async function run() {
  try {
    const errand = await (await ask(place.dataset.errand)).json();
    const [stored, beats] = await Promise.all([store(errand), listen(errand)]);
    const seen = { claim: errand.claim, origin: location.origin, ...stored, beats_ms: beats, now_ms: Date.now() };
    place.innerHTML = await (await ask(place.dataset.report, seen)).text();
    // What needs a hand comes first.
    if (place.querySelector('[data-state="failed"]')) findings.before(place);
    else findings.after(place);
  } catch (error) {
    const failed = document.getElementById('errand-failed').content.cloneNode(true);
    failed.querySelector('[data-why]').textContent = error.message;
    place.replaceChildren(failed);
  }
}

async function ask(url, body) {
  const options = body ? { body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } } : {};
  const answer = await fetch(url, { method: 'POST', ...options });
  if (answer.redirected) location.reload(); // signed out
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  return answer;
}

// --- the storage ------------------------------------------------------------------------------------------------------

async function store(errand) {
  const put = await send(errand);
  const part = put.state === 'ok' ? await readPart(errand) : { status: 0, bytes: 0 };
  return { put, range_status: part.status, range_bytes: part.bytes };
}

async function send({ put_url: url, content_type: type, body }) {
  try {
    const answer = await fetch(url, { method: 'PUT', body, headers: { 'Content-Type': type } });
    return { state: answer.ok ? 'ok' : 'refused', status: answer.status, etag: Boolean(answer.headers.get('ETag')) };
  } catch (error) {
    return { state: (await isThere(url)) ? 'hidden' : 'unreachable', error: error.message.slice(0, 300) };
  }
}

/** Whether anything answers there, whatever it lets us see. */
async function isThere(url) {
  try {
    await fetch(new URL(url).origin, { mode: 'no-cors', signal: AbortSignal.timeout(5_000) });
    return true;
  } catch {
    return false;
  }
}

async function readPart({ get_url: url }) {
  try {
    const answer = await fetch(url, { headers: { Range: 'bytes=4-9' }, cache: 'no-store' });
    return { status: answer.status, bytes: Math.min((await answer.arrayBuffer()).byteLength, 10_000) };
  } catch {
    return { status: 0, bytes: 0 };
  }
}

// --- live progress ----------------------------------------------------------------------------------------------------

/** When each event of the test stream came, in ms. */
function listen({ stream_url: url, events }) {
  return new Promise((resolve) => {
    const came = [];
    const source = new EventSource(url);
    const end = () => {
      clearTimeout(timer);
      source.close();
      resolve(came);
    };
    const timer = setTimeout(end, STREAM_MS);
    source.addEventListener('beat', () => {
      came.push(performance.now());
      if (came.length === events) end();
    });
    source.addEventListener('error', end);
  });
}
