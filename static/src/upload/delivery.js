// Brings one file in: fingerprint, reserve a place, send, confirm. It knows nothing of the page; it tells what happens by `on`.
import { ApiError, call } from './api.js';
import { fingerprintOf, startFingerprinter } from './fingerprints.js';
import { forgetLine, lineSpeed, noteLine } from './line.js';
import { answered, passes } from './network.js';
import { Sender, readable } from './sender.js';
import { forget, remember } from './unfinished.js';

const TYPING_MS = 600;
// An address that is over so soon is not begun with.
const LATE_MS = 30_000;

let transfers = null;

/** Load what sending needs, for a page where somebody is about to choose a file. */
export function getReady({ fingerprinter }) {
  theTransfers().catch(() => {}); // asked for again with the first file
  startFingerprinter(fingerprinter);
}

/** Uppy, loaded with the first file that is sent at the latest. */
async function theTransfers() {
  transfers ??= import('./transfers.js').then(({ Transfers }) => new Transfers());
  return transfers.catch((error) => {
    transfers = null;
    // After an update of the server this page may ask for a file that is no longer there.
    throw new ApiError(navigator.onLine ? { code: 'stale_page', status: 503, message: error.message } : { code: 'network' });
  });
}

export class Delivery {
  /** The upload as the server reserved it, while there is one. */
  upload = null;
  fingerprint = null;
  #sender = null;
  #attempt = new AbortController();
  #giveTurnBack = () => {};
  #typing;
  #saved = null; // what the server was told of title and description

  /**
   * @param {object} given
   * @param {File} given.file
   * @param {string} given.contentType
   * @param {{multipartBytes: number, fingerprinter: string}} given.rules
   * @param {import('./turns.js').Turns} given.turns
   * @param {() => {title: string, description: string, project_id?: string}} given.edit  what is typed by now
   * @param {{state: (name: string) => void, progress: (bytes: number) => void, waiting: (error: ApiError | null) => void,
   *   reserved: (upload: object) => void, duplicate: (of: object) => void, delivered: (video: object) => void, failed: (error: ApiError) => void}} given.on
   */
  constructor({ file, contentType, rules, turns, edit, on }) {
    Object.assign(this, { file, contentType, rules, turns, edit, on });
  }

  /** From the beginning. A file that seems to be here already is asked about first, unless `anyway`. */
  start({ anyway = false } = {}) {
    this.upload = null;
    this.on.state('preparing');
    theTransfers().catch(() => {}); // it comes while the rest is prepared; whether it came is asked later
    this.#run(async (signal) => {
      await this.#takeTurn(signal);
      if (!(await readable(this.file))) throw new ApiError({ code: 'file_changed' });
      if (!anyway && (await this.#isHere(signal))) return;
      if (signal.aborted) return;
      const edit = this.edit();
      const upload = await this.#patiently(signal, () => this.#reserve(edit));
      if (signal.aborted) return this.#leave(upload);
      this.upload = upload;
      this.#saved = edit;
      remember(upload.upload_id);
      this.on.reserved(upload);
      await this.#send(signal, []);
    });
  }

  /** On with an upload that another visit began, unless the file came by another way meanwhile. */
  resume(upload) {
    this.upload = { ...upload, upload_id: upload.id };
    this.#saved = this.edit();
    this.on.state('preparing');
    this.goOn({ anyway: false });
  }

  /** On from what has arrived: after a pause or a failure. */
  goOn({ anyway = true } = {}) {
    if (!this.upload) return this.start();
    this.#run(async (signal) => {
      await this.#takeTurn(signal);
      if (!anyway && (await this.#isHere(signal))) return;
      const arrived = await this.#patiently(signal, () => this.#look());
      if (arrived === null) return this.#complete(signal);
      await this.#send(signal, arrived);
    });
  }

  pause() {
    this.#stop();
    this.on.state('paused');
  }

  /** Give up: the server is told, and removes what arrived. It expires by itself when that does not get through. */
  giveUp() {
    this.#stop();
    if (this.upload) this.#leave(this.upload);
    this.upload = null;
  }

  /** Confirm again what has arrived. */
  confirm() {
    this.#run((signal) => this.#complete(signal));
  }

  tick() {
    this.#sender?.tick();
  }

  /** Whether it waits for the parts of other files. */
  get isQueued() {
    return Boolean(this.#sender?.isQueued);
  }

  /** Tell the server what is typed, now and then: it counts also when this page is closed before the end. */
  typed() {
    clearTimeout(this.#typing);
    if (this.upload) remember(this.upload.upload_id, this.edit());
    this.#typing = setTimeout(async () => {
      const edit = this.edit();
      const { upload } = this;
      if (!upload || same(edit, this.#saved)) return;
      this.#saved = edit;
      try {
        await call('PATCH', `/api/uploads/${upload.upload_id}`, edit);
        if (same(edit, this.edit())) remember(upload.upload_id);
      } catch {
        this.#saved = null; // it goes with the confirmation; until then this browser keeps it
      }
    }, TYPING_MS);
  }

  // --- the steps ---------------------------------------------------------------------------------------------------

  /** Whether there is a video of the same file; then that is offered instead. */
  async #isHere(signal) {
    this.fingerprint ??= await fingerprintOf(this.file, this.rules.fingerprinter);
    if (!this.fingerprint) return false;
    const { duplicates } = await this.#patiently(signal, () => call('GET', `/api/uploads/duplicates?fingerprint=${this.fingerprint}`));
    if (signal.aborted || !duplicates.length) return false;
    this.#giveTurnBack();
    this.on.duplicate(duplicates[0]);
    return true;
  }

  async #reserve(edit) {
    const { name: filename, size } = this.file;
    const upload = await call('POST', '/api/upload/presigned-url', {
      ...edit,
      filename,
      size,
      content_type: this.contentType,
      multipart: size > this.rules.multipartBytes,
      ...(this.fingerprint ? { checksum: this.fingerprint } : {}),
      ...(lineSpeed() ? { bytes_per_second: lineSpeed() } : {}),
    });
    return { ...upload, until: Date.now() + upload.expires_in * 1000 };
  }

  /** Sent whole there is one address, good for a while; the file may have waited longer than that for its turn. */
  async #reserveAnew() {
    const { signal } = this.#attempt;
    const edit = this.edit();
    const old = this.upload;
    if (!old.isGone) await call('DELETE', `/api/uploads/${old.upload_id}`); // first, for it counts against the quota
    old.isGone = true;
    forget(old.upload_id);
    const upload = await this.#reserve(edit).catch((error) => {
      if (!passes(error) && !signal.aborted) this.upload = null;
      throw error;
    });
    if (signal.aborted) {
      this.#leave(upload);
      throw new ApiError({ code: 'cancelled' });
    }
    this.upload = upload;
    this.#saved = edit;
    remember(upload.upload_id);
  }

  async #send(signal, arrived) {
    const { upload } = this;
    const transfers = await this.#patiently(signal, theTransfers);
    if (signal.aborted) return;
    const began = performance.now();
    let before; // what had arrived
    this.#sender = new Sender({
      file: this.file,
      contentType: this.contentType,
      partSize: upload.part_size ?? this.file.size,
      transfers,
      sign: (numbers) => this.#sign(numbers),
      look: () => this.#look(),
      on: {
        progress: (bytes) => {
          before ??= bytes;
          this.on.progress(bytes);
        },
        waiting: (error) => {
          if (error?.code === 'network') forgetLine();
          this.on.waiting(error);
        },
        sent: () => {
          noteLine(this.file.size - before, performance.now() - began);
          this.confirm();
        },
        failed: (error) => this.#fail(error),
      },
    });
    this.on.state('uploading');
    this.#sender.start(arrived);
  }

  async #sign(numbers) {
    if (this.upload.part_size) return call('POST', `/api/uploads/${this.upload.upload_id}/parts`, { part_numbers: numbers });
    if (Date.now() > this.upload.until - LATE_MS) await this.#reserveAnew();
    const { upload_url: url, headers, until } = this.upload;
    return { parts: [{ number: 1, url, headers }], expires_in: (until - Date.now()) / 1000 };
  }

  /** The numbers of the parts that arrived; null when the server has completed the upload. */
  async #look() {
    if (this.upload.isGone) return []; // its successor is not reserved yet
    const { state, parts, error } = await call('GET', `/api/uploads/${this.upload.upload_id}`);
    if (state === 'completed') return null;
    if (state === 'verifying') throw new ApiError({ code: 'busy', status: 503 }); // the server is looking; its answer is near
    if (state === 'failed') throw new ApiError({ code: 'upload_mismatch', ...error });
    if (state === 'cancelled') throw new ApiError({ code: 'upload_expired' });
    return (parts ?? []).map(({ number }) => number);
  }

  async #complete(signal) {
    this.#sender = null;
    clearTimeout(this.#typing);
    this.on.progress(this.file?.size ?? 0);
    this.on.state('checking');
    const { upload_id: id } = this.upload;
    const edit = this.edit();
    const video = await this.#patiently(signal, () => call('POST', `/api/uploads/${id}/complete`, edit));
    forget(id);
    this.#giveTurnBack();
    this.on.delivered(video, edit);
  }

  // --- around them -------------------------------------------------------------------------------------------------

  /** One attempt at a time; what an earlier one still finds out is nobody's business. */
  async #run(steps) {
    this.#stop({ keepTurn: true });
    this.#attempt = new AbortController();
    const { signal } = this.#attempt;
    try {
      await steps(signal);
    } catch (error) {
      if (!signal.aborted) this.#fail(error);
    }
  }

  #stop({ keepTurn = false } = {}) {
    this.#attempt.abort();
    this.#sender?.pause();
    this.#sender = null;
    if (!keepTurn) this.#giveTurnBack();
  }

  #fail(error) {
    this.#stop();
    // Nothing is given up before the server has looked: the last answer may have been lost after the last byte.
    if (error.code === 'upload_expired' && this.upload && !this.upload.looked) {
      this.upload.looked = true;
      return this.confirm();
    }
    this.on.failed(error instanceof ApiError ? error : new ApiError({ code: 'browser', message: error.message }));
  }

  async #takeTurn(signal) {
    this.#giveTurnBack();
    this.#giveTurnBack = await this.turns.take(signal);
    if (signal.aborted) {
      this.#giveTurnBack();
      throw new ApiError({ code: 'cancelled' });
    }
  }

  #patiently(signal, ask) {
    return answered(ask, { signal, waiting: (error) => signal.aborted || this.on.waiting(error) });
  }

  #leave({ upload_id: id }) {
    forget(id);
    if (id) call('DELETE', `/api/uploads/${id}`).catch(() => {});
  }
}

function same(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}
