// Title and description of a video that is there. What does not get through is kept in this browser until it does.
import { call } from './api.js';
import { answered } from './network.js';
import { forget, remember } from './unfinished.js';

export class Texts {
  #attempt = new AbortController();

  /**
   * @param {string} address of the video
   * @param {string} uploadId  under which this browser keeps what was typed
   * @param {{title: string, description: string}} sent  what the server knows
   * @param {{waiting: (error: ApiError) => void, saved: () => void, failed: (error: ApiError) => void}} on
   */
  constructor(address, uploadId, sent, on) {
    Object.assign(this, { address, uploadId, sent, on });
  }

  async send({ title, description }) {
    if (title === this.sent?.title && description === this.sent?.description) return;
    this.sent = { title, description };
    this.#attempt.abort();
    this.#attempt = new AbortController();
    const { signal } = this.#attempt;
    const waiting = (error) => {
      if (!error) return;
      remember(this.uploadId, { title, description });
      this.on.waiting(error);
    };
    try {
      await answered(() => call('PATCH', this.address, { title, description }), { signal, waiting });
      forget(this.uploadId);
      this.on.saved();
    } catch (error) {
      if (signal.aborted) return; // something else was typed meanwhile
      this.sent = null;
      this.on.failed(error);
    }
  }
}
