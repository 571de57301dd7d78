// The pace of an upload over its last seconds: steady enough to read, quick enough to follow a change.
import { left, size } from './words.js';

const WINDOW_MS = 5_000;
const STALL_MS = 8_000;

export class Speed {
  #points = [];

  add(bytes, now = performance.now()) {
    this.#points.push([now, bytes]);
    while (this.#points.length > 2 && now - this.#points[0][0] > WINDOW_MS) this.#points.shift();
  }

  /** Bytes a second; 0 while there is too little to tell. */
  get rate() {
    const [first, last] = [this.#points[0], this.#points.at(-1)];
    if (!first || last[0] - first[0] < 300) return 0;
    return ((last[1] - first[1]) / (last[0] - first[0])) * 1000;
  }

  /** In words: pace and time left, or that there is neither. @param {number} rest bytes */
  figures(rest) {
    if (this.stalled()) return ['Waiting for the network'];
    return this.rate > 0 && rest > 0 ? [`${size(Math.round(this.rate))}/s`, left(rest / this.rate)] : [];
  }

  /** Whether nothing has moved for a while. */
  stalled(now = performance.now()) {
    const last = this.#points.at(-1);
    return Boolean(last) && now - last[0] > STALL_MS;
  }
}
