// Patience: what to do while no answer comes.
import { ApiError } from './api.js';

const WAITS_MS = [1_000, 2_000, 4_000, 8_000, 15_000];

/** Whether our server does not know any more who asks; a storage that refuses means something else. */
export function isLoggedOut(error) {
  return error.status === 401 && error.code !== 'storage_refused';
}

/** Whether the same again may well succeed in a moment, or when somebody has logged in again. */
export function passes(error) {
  return error.code === 'network' || error.status === 429 || error.status >= 500 || isLoggedOut(error);
}

/** Wait for the next try, longer each time; at once when the browser is online again, or somebody comes back to this tab. */
export function nextTry(failures, signal) {
  return new Promise((resolve, reject) => {
    let timer = null;
    const end = (act) => () => {
      clearTimeout(timer);
      window.removeEventListener('online', online);
      document.removeEventListener('visibilitychange', back);
      signal?.removeEventListener('abort', stop);
      act();
    };
    const online = end(resolve);
    const back = () => document.hidden || online();
    const stop = end(() => reject(new ApiError({ code: 'cancelled' })));
    if (signal?.aborted) return stop();
    timer = setTimeout(online, WAITS_MS[Math.min(Math.max(failures - 1, 0), WAITS_MS.length - 1)]);
    window.addEventListener('online', online);
    document.addEventListener('visibilitychange', back);
    signal?.addEventListener('abort', stop);
  });
}

/**
 * Ask until an answer comes. Without a network, or a login, for as long as it takes; a server that has trouble gets a few tries.
 * @param {() => Promise<T>} ask
 * @param {{signal: AbortSignal, waiting: (error: ApiError | null) => void}} with  `waiting` hears of trouble, and of its end
 * @returns {Promise<T>} @template T
 */
export async function answered(ask, { signal, waiting }) {
  for (let failures = 1, busy = 0; ; failures += 1) {
    try {
      const answer = await ask();
      if (failures > 1) waiting(null);
      return answer;
    } catch (error) {
      if (signal.aborted) throw new ApiError({ code: 'cancelled' });
      if (error.code !== 'network' && !isLoggedOut(error)) busy += 1;
      if (!passes(error) || busy >= WAITS_MS.length) throw error;
      waiting(error);
      await nextTry(failures, signal);
    }
  }
}
