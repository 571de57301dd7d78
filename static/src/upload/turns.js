// Whose turn it is: a few files at once, the others in the order they came. An address signed long before its turn expires.
import { ApiError } from './api.js';

export class Turns {
  #free;
  #queue = [];

  constructor(atOnce) {
    this.#free = atOnce;
  }

  /**
   * @param {AbortSignal} signal  rejects with `cancelled` when it comes first
   * @returns {Promise<() => void>} gives the turn back; again is fine
   */
  take(signal) {
    return new Promise((resolve, reject) => {
      const waiting = () => {
        signal.removeEventListener('abort', leave);
        this.#free -= 1;
        let mine = true;
        resolve(() => {
          if (!mine) return;
          mine = false;
          this.#free += 1;
          this.#next();
        });
      };
      const leave = () => {
        this.#queue = this.#queue.filter((one) => one !== waiting);
        reject(new ApiError({ code: 'cancelled' }));
      };
      if (signal.aborted) return leave();
      signal.addEventListener('abort', leave, { once: true });
      this.#queue.push(waiting);
      this.#next();
    });
  }

  #next() {
    if (this.#free > 0) this.#queue.shift()?.();
  }
}
