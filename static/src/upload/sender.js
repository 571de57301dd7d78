// Sends one file, as a whole or in parts of equal size, several at a time, and bears with what happens on the way: parts that
// fail are sent again, addresses that expired are signed again, and without a network it waits.
import { ApiError } from './api.js';
import { lineSpeed } from './line.js';
import { isLoggedOut, nextTry, passes } from './network.js';

// A part that takes longer than this says that the line is full: fewer are under way then, so that a cut loses less. On a
// slow line that was cut there is one, or what fails again and again would never be through before the next cut.
const AT_ONCE = 4;
const AT_ONCE_SLOW = 2;
const QUICK_MS = 10_000;
const QUICK = 32 * 1024 * 1024; // bytes a second, the last time
const SIGN_AHEAD = 16;
const EARLY_MS = 15_000;
// A connection that died without a word (a laptop that slept, another Wi-Fi) sends nothing and fails never.
const STALL_MS = 90_000;
const OFFLINE_MS = 2_000;
// Refusals of one part with a fresh address, and failures in a row of the storage while our own server answers.
const REFUSALS = 2;
const BARREN = 5;
// One that was cut on its way counts less: the storage is there, and a bad line may need many tries.
const CUT = 0.25;

export class Sender {
  #todo = [];
  #sending = new Map(); // number → {bytes, started: when, stop}
  #done = new Set();
  #addresses = new Map(); // number → {url, headers, until}
  #signing = null;
  #refusals = new Map();
  #barren = 0;
  #moved = 0;
  #atOnce = lineSpeed() > QUICK ? AT_ONCE : AT_ONCE_SLOW; // until the first part has shown what the line can do
  #work = null; // an AbortController while it works; none while it is paused or over
  #resting = null; // the signal of the work that waits for its next try

  /**
   * @param {object} given
   * @param {File} given.file
   * @param {string} given.contentType
   * @param {number} given.partSize bytes
   * @param {object} given.transfers
   * @param {(numbers: number[]) => Promise<{parts: {number: number, url: string, headers?: object}[], expires_in: number}>} given.sign
   * @param {() => Promise<number[] | null>} given.look  the parts that have arrived; null when the upload is complete
   * @param {{progress: (bytes: number) => void, waiting: (error: ApiError | null) => void, sent: () => void, failed: (error: ApiError) => void}} given.on
   */
  constructor({ file, contentType, partSize, transfers, sign, look, on }) {
    Object.assign(this, { file, contentType, partSize, transfers, sign, look, on });
    this.partCount = Math.ceil(file.size / partSize);
  }

  /** @param {number[]} arrived numbers of the parts that are there already */
  start(arrived = []) {
    this.#work = new AbortController();
    this.#moved = performance.now();
    this.#take(arrived);
    this.#next();
  }

  /** Stop where it is; parts that were under way are sent again. */
  pause() {
    this.#work?.abort();
    this.#work = null;
    for (const [number, { stop }] of this.#sending) {
      stop();
      this.#todo.push(number);
    }
    this.#sending.clear();
    this.#todo.sort((a, b) => a - b);
    this.#report(); // what has arrived, without what was under way
  }

  resume() {
    this.#work = new AbortController();
    this.#barren = 0;
    this.#look(this.#work.signal, 0);
  }

  /** Whether all it would send waits behind parts of other files. */
  get isQueued() {
    const entries = [...this.#sending.values()];
    return entries.length > 0 && entries.every(({ started }) => !started);
  }

  /** Called now and then: notices a connection that stands still. */
  tick() {
    // Parts wait behind those of other files, and without a network Uppy does not even begin with them.
    const isUnderWay = [...this.#sending.values()].some(({ started }) => started || !navigator.onLine);
    if (!isUnderWay || performance.now() - this.#moved < (navigator.onLine ? STALL_MS : OFFLINE_MS)) return;
    this.pause();
    this.#work = new AbortController();
    this.#rest(new ApiError({ code: 'network' }));
  }

  // --- parts -------------------------------------------------------------------------------------------------------

  #bytesOf(number) {
    return Math.min(this.partSize, this.file.size - (number - 1) * this.partSize);
  }

  #take(arrived) {
    for (const number of arrived) {
      if (!this.#sending.has(number)) this.#done.add(number);
    }
    this.#todo = [];
    for (let number = 1; number <= this.partCount; number += 1) {
      if (!this.#done.has(number) && !this.#sending.has(number)) this.#todo.push(number);
    }
    this.#report();
  }

  #next() {
    if (this.#done.size === this.partCount) return this.#end(() => this.on.sent());
    while (this.#todo.length && this.#sending.size < this.#atOnce) this.#send(this.#todo.shift());
    this.#signAhead();
  }

  #send(number) {
    const from = (number - 1) * this.partSize;
    const entry = { bytes: 0, started: 0, stop() {} };
    this.#sending.set(number, entry);
    entry.stop = this.transfers.add(this.partCount === 1 ? this.file : this.file.slice(from, from + this.partSize), this.contentType, {
      address: () => {
        this.#moved = entry.started = performance.now();
        return this.#address(number);
      },
      progress: (bytes) => {
        // Uppy begins again by itself: with an address that may be over, and with as many parts as the line was cut with.
        if (bytes < entry.bytes) {
          entry.stop();
          return this.#failed(number, new ApiError({ code: 'network' }));
        }
        entry.bytes = Math.min(bytes, this.#bytesOf(number));
        this.#report();
      },
      sent: () => {
        this.#atOnce = performance.now() - entry.started < QUICK_MS ? AT_ONCE : Math.min(this.#atOnce, AT_ONCE_SLOW);
        this.#sending.delete(number);
        this.#barren = 0;
        this.#refusals.delete(number);
        this.#addresses.delete(number);
        this.#done.add(number);
        this.#report();
        this.#next();
      },
      failed: (error) => this.#failed(number, error),
    });
  }

  #report() {
    this.#moved = performance.now();
    const last = this.partCount;
    let bytes = this.#done.size * this.partSize;
    if (this.#done.has(last)) bytes += this.#bytesOf(last) - this.partSize;
    for (const entry of this.#sending.values()) bytes += entry.bytes;
    this.on.progress(bytes);
  }

  // --- addresses ---------------------------------------------------------------------------------------------------

  #fresh(number, at = performance.now()) {
    return this.#addresses.get(number)?.until > at;
  }

  async #address(number) {
    if (!this.#fresh(number)) {
      this.#signing ??= this.#sign().finally(() => (this.#signing = null));
      await this.#signing;
    }
    if (!this.#fresh(number)) await this.#sign(number); // it began after that batch had been asked for
    return this.#addresses.get(number);
  }

  /** The next addresses while parts are under way, so that none waits for its own. The first are asked for by the parts themselves. */
  #signAhead() {
    if (this.#signing || !this.#addresses.size || this.#todo.slice(0, AT_ONCE).every((number) => this.#fresh(number))) return;
    // What goes wrong here is told by the part that has no address when its turn comes.
    this.#signing = this.#sign().catch(() => {}).finally(() => (this.#signing = null));
  }

  async #sign(...wanted) {
    const asked = performance.now();
    const numbers = wanted.length ? wanted : [...this.#sending.keys(), ...this.#todo].filter((number) => !this.#fresh(number, asked)).slice(0, SIGN_AHEAD);
    if (!numbers.length) return; // paused meanwhile
    const { parts, expires_in: seconds } = await this.sign(numbers);
    for (const { number, url, headers } of parts) this.#addresses.set(number, { url, headers, until: asked + seconds * 1000 - EARLY_MS });
  }

  // --- trouble -----------------------------------------------------------------------------------------------------

  async #failed(number, error) {
    const { signal } = this.#work ?? {};
    const { bytes = 0 } = this.#sending.get(number) ?? {};
    this.#sending.delete(number);
    this.#addresses.delete(number);
    if (!signal) return;
    this.#todo.unshift(number);
    if (error.code === 'already_there') {
      this.#done.add(this.#todo.shift());
      return this.#next();
    }
    if (!(await readable(this.file))) return this.#give(new ApiError({ code: 'file_changed' }));
    if (signal.aborted) return;
    if (passes(error)) return this.#rest(error, bytes > 0 && bytes < this.#bytesOf(number) ? CUT : 1);
    const refused = (this.#refusals.get(number) ?? 0) + 1;
    this.#refusals.set(number, refused);
    // An address that expired is refused, and so is a part of an upload that is over: ask before giving up.
    if ((error.status === 403 || error.status === 404) && refused < REFUSALS) return this.#look(signal, 0);
    this.#give(error);
  }

  /** Wait a moment, longer each time, and go on. */
  #rest(error, weight = 1) {
    const { signal } = this.#work;
    this.#report();
    if (this.#resting === signal) return;
    this.#resting = signal;
    this.#atOnce = 1;
    if (!isLoggedOut(error)) this.#barren += weight;
    if (!this.#sending.size || isLoggedOut(error)) this.on.waiting(error); // what has an address still travels
    this.#look(signal, Math.ceil(this.#barren), error);
  }

  /** Ask our own server what has arrived, until it answers, and send the rest. */
  async #look(signal, failures, error = null) {
    try {
      for (let tries = failures; ; tries += 1) {
        if (tries > 0) await nextTry(tries, signal);
        try {
          const arrived = await this.look();
          if (signal.aborted) return;
          if (arrived === null) return this.#end(() => this.on.sent());
          if (this.#barren >= BARREN) return this.#give(error?.code === 'network' ? new ApiError({ code: 'storage_unreachable' }) : error);
          this.#resting = null;
          this.on.waiting(null);
          this.#take(arrived);
          return this.#next();
        } catch (trouble) {
          if (signal.aborted) return;
          if (!passes(trouble)) return this.#give(trouble);
          this.on.waiting(trouble);
        }
      }
    } catch {
      // Paused or cancelled while it waited.
    }
  }

  #give(error) {
    this.#end(() => this.on.failed(error));
  }

  #end(tell) {
    this.pause();
    tell();
  }
}

/** Whether the file is still the one that was chosen: browsers refuse to read one that was changed, moved or deleted. */
export async function readable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}
