// A session's page as it changes: uploads that become analyses, analyses that go on and end, the one that is open.
import { call } from '../upload/api.js';
import { toast } from '../ui/toasts.js';
import { openAnalysis } from './analysis.js';

// Streams are for those that run; what waits is asked for again. A browser has six connections for a site.
const MOST_STREAMS = 2;
const AGAIN_MS = 4_000;

export function openSession(root) {
  const page = `/sessions/${root.dataset.session}`;
  const streams = new Map();
  let timer;

  root.addEventListener('upload:reserved', ({ detail: upload }) => analyse({ upload_id: upload.upload_id }));
  // What is in the library already is not sent again, and analysed all the same; unless its upload was asked for before.
  root.addEventListener('upload:duplicate', ({ detail: of }) => of.upload_id || analyse({ video_id: of.video_id }));

  async function analyse(which) {
    const form = root.querySelector('[data-analysis-settings]');
    const values = {
      ...which,
      sample_fps: Math.min(30, Math.max(1, Number(form.elements.sample_fps.value) || 10)),
      include_frames: form.elements.include_frames.checked,
      athlete: form.elements.athlete.value,
    };
    try {
      await call('POST', `/api/coaches/plus${page}/analysis-jobs`, values);
      await look();
    } catch (error) {
      toast({ kind: 'error', message: `The video is ${which.upload_id ? 'sent' : 'there'}, but will not be analysed: ${error.message || 'the line broke'}. Choose it under “From the library”.` });
    }
  }
  root.querySelector('[data-analysis-settings]')?.addEventListener('submit', (event) => event.preventDefault());

  /** Fetch the list anew, and the open analysis if it has just ended. */
  async function look() {
    clearTimeout(timer);
    const opened = root.querySelector('[data-analysis]')?.dataset.analysis;
    const answer = await fetch(`${page}/analyses${opened ? `?analysis=${opened}` : ''}`, { headers: { 'X-Requested-With': 'fetch' } }).catch(() => null);
    if (answer?.redirected) return location.reload(); // signed out meanwhile
    if (answer?.ok) {
      const focused = document.activeElement?.id;
      const before = root.querySelector('#analyses');
      const after = parsed(await answer.text(), '#analyses');
      const ended = [...after.querySelectorAll('[data-id]')].filter((row) => isDone(row) && !isDone(before.querySelector(`#${row.id}`)));
      const scrolled = before.querySelector('ul').scrollTop;
      before.replaceWith(after);
      after.querySelector('ul').scrollTop = scrolled;
      if (focused) document.getElementById(focused)?.focus();
      if (ended.length && !opened) await open(ended[0].dataset.id);
    }
    follow();
  }

  async function open(id) {
    const answer = await fetch(`${page}?analysis=${id}`).catch(() => null);
    if (!answer?.ok) return;
    const text = await answer.text();
    root.querySelector('#opened').replaceWith(parsed(text, '#opened'));
    root.querySelector('#analyses').replaceWith(parsed(text, '#analyses'));
    start();
  }

  function follow() {
    const rows = [...root.querySelectorAll('[data-follow]')];
    for (const [url, source] of streams) if (!rows.some((row) => row.dataset.follow === url)) end(url, source);
    for (const row of rows) if (!streams.has(row.dataset.follow) && streams.size < MOST_STREAMS) stream(row.dataset.follow);
    if (root.querySelector('#analyses[data-going]')) timer = setTimeout(look, AGAIN_MS);
  }

  function stream(url) {
    const source = new EventSource(url);
    streams.set(url, source);
    source.addEventListener('progress', ({ data }) => {
      const { progress, stage } = JSON.parse(data);
      const row = root.querySelector(`[data-follow="${url}"]`);
      const bar = row?.querySelector('progress');
      if (bar) bar.value = Math.floor(progress);
      if (row && row.dataset.stageName !== (stage ?? '')) look();
    });
    for (const last of ['complete', 'error']) {
      source.addEventListener(last, (event) => {
        if (event.data === undefined) return; // the connection, not the job: the browser tries again
        end(url, source);
        look();
      });
    }
  }

  function end(url, source) {
    source.close();
    streams.delete(url);
  }

  function start() {
    const row = root.querySelector('.analysis-list [data-open]');
    if (row) row.parentElement.scrollTop = row.offsetTop - row.parentElement.offsetTop - row.offsetHeight / 2;
    const analysis = root.querySelector('[data-analysis]');
    if (analysis) openAnalysis(analysis, (id) => location.assign(`${page}?analysis=${id}&done=queued`));
  }

  addEventListener('pagehide', () => streams.forEach((source, url) => end(url, source)));
  addEventListener('pageshow', (event) => event.persisted && look());
  start();
  follow();
}

function parsed(text, selector) {
  return document.adoptNode(new DOMParser().parseFromString(text, 'text/html').querySelector(selector));
}

function isDone(row) {
  return row?.querySelector('.status')?.dataset.status === 'completed';
}
