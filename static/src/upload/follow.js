// Follows videos through their processing, in the words of the library: one question for all of them. A stream for each would
// take the few connections that a browser keeps to one server over HTTP/1.1.
import { call } from './api.js';
import { isLoggedOut } from './network.js';

const LOOK_MS = 1_000;
const SOON_MS = 250;
// As many as the server answers for at once; the others are asked for when one of these is done.
const MOST = 100;
const followed = new Map();
let timer = null;

/**
 * @param {string} videoId
 * @param {{update: (now: {words: string, percent: number, running: boolean}) => void, waiting: (error: ApiError) => void,
 *   done: () => void, gone: () => void}} on  `waiting`: nothing is told to somebody who is not logged in
 * @returns {() => void} stop following
 */
export function followVideo(videoId, on) {
  followed.set(videoId, on);
  timer ??= setTimeout(look, SOON_MS);
  return () => followed.get(videoId) === on && followed.delete(videoId);
}

async function look() {
  const asked = [...followed].slice(0, MOST);
  try {
    const found = await call('GET', `/videos/progress?${asked.map(([id]) => `id=${id}`).join('&')}`);
    const videos = new Map(found.map((video) => [video.id, video]));
    for (const [id, on] of asked) if (followed.get(id) === on) tell(id, on, videos.get(id));
  } catch (error) {
    // No answer or a hiccup of the server: the work goes on without us, so look again.
    if (isLoggedOut(error)) for (const [, on] of asked) on.waiting(error);
  }
  timer = followed.size ? setTimeout(look, LOOK_MS) : null;
}

function tell(id, on, video) {
  if (video?.words) return on.update(video);
  if (video?.status === 'processing') return; // between two of its steps
  followed.delete(id);
  if (video) on.done();
  else on.gone();
}
