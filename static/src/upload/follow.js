// Follows a job to its end: a live stream where one is free, else a look every two seconds. A browser keeps few
// connections to one server over HTTP/1.1, and a page that streams on all of them can do nothing else.
import { call } from './api.js';

const STREAMS = 2;
const LOOK_MS = 2_000;
let streams = 0;

/**
 * @param {string} jobId
 * @param {{update: (job: object) => void, done: (end: object) => void, failed: (error: object) => void}} on
 * @returns {() => void} stop following
 */
export function followJob(jobId, on) {
  let stopped = false;
  let release = () => {};

  const stop = () => {
    stopped = true;
    release();
  };
  const finish = (name, value) => {
    if (stopped) return;
    stop();
    on[name](value);
  };
  const see = (job) => {
    if (stopped) return;
    if (job.status === 'completed') finish('done', job);
    else if (job.status === 'failed' || job.status === 'cancelled') finish('failed', job.error ?? { code: job.status, message: '' });
    else on.update(job);
  };

  if (streams < STREAMS) release = stream(jobId, see, finish, () => !stopped && (release = look(jobId, see, finish)));
  else release = look(jobId, see, finish);
  return stop;
}

function stream(jobId, see, finish, fallBack) {
  streams += 1;
  const source = new EventSource(`/api/jobs/${jobId}/stream`);
  let open = true;
  const close = () => {
    if (!open) return;
    open = false;
    streams -= 1;
    source.close();
  };
  for (const name of ['snapshot', 'progress']) source.addEventListener(name, (event) => see(JSON.parse(event.data)));
  source.addEventListener('complete', (event) => finish('done', JSON.parse(event.data)));
  source.addEventListener('error', (event) => {
    // The server's own `error` event carries data; the browser's, for a broken connection, does not.
    if (event.data) finish('failed', JSON.parse(event.data).error);
    else if (source.readyState === EventSource.CLOSED) {
      close();
      fallBack();
    }
  });
  return close;
}

function look(jobId, see, finish) {
  let timer;
  const once = async () => {
    try {
      see(await call('GET', `/api/jobs/${jobId}`));
    } catch (error) {
      // No answer or a hiccup of the server: the job goes on without us, so look again.
      if (error.status >= 400 && error.status < 500 && error.status !== 429) return finish('failed', error);
    }
    if (timer !== null) timer = setTimeout(once, LOOK_MS);
  };
  timer = setTimeout(once, 0);
  return () => {
    clearTimeout(timer);
    timer = null;
  };
}
