// What becomes of a video once it has arrived: its processing, followed to the end, and begun again when it failed.
import { call } from './api.js';
import { followVideo } from './follow.js';
import { answered } from './network.js';

export class Processing {
  #stop = () => {};

  /**
   * @param {string} videoId
   * @param {{began: () => void, update: (now: object) => void, loggedOut: () => void, checking: () => void, ready: (video: object) => void,
   *   failed: (error: object, again: () => void) => void}} on
   */
  constructor(videoId, on) {
    Object.assign(this, { videoId, on });
  }

  /** @param {object} video as the server tells of it now */
  follow(video) {
    if (video.status === 'completed' || !video.job_id) return this.on.ready(video);
    if (video.status === 'failed') return this.on.failed(video.error ?? {}, () => this.#again());
    this.on.began();
    this.#stop();
    this.#stop = followVideo(this.videoId, {
      update: this.on.update,
      waiting: this.on.loggedOut,
      done: () => this.#look(),
      gone: () => this.on.failed({ code: 'not_found', message: 'The video was deleted.', retryable: false }, () => {}),
    });
  }

  async #look() {
    try {
      const ask = () => call('GET', `/api/videos/${this.videoId}`);
      this.follow(await answered(ask, { signal: new AbortController().signal, waiting() {} }));
    } catch (error) {
      this.on.failed(error, () => this.#look());
    }
  }

  async #again() {
    this.on.checking();
    try {
      this.follow(await call('POST', `/api/videos/${this.videoId}/retry`));
    } catch (error) {
      this.on.failed(error, () => this.#again());
    }
  }
}
