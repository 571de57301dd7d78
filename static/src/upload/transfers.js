// Moves bytes from the browser straight to the storage, with Uppy: whole files or parts of them, at most four at once, each to
// a signed address that is asked for at the moment its turn comes.
//
// Uppy's own multipart sends one part after another and has the browser create, list and complete the upload with the
// storage. Here the server does that, so each part is a file of its own to Uppy.
import AwsS3 from '@uppy/aws-s3';
import Uppy from '@uppy/core';

import { ApiError } from './api.js';

// Browsers keep six connections to one server: some stay free for pictures and players.
const AT_ONCE = 4;
// Browsers set these themselves, and refuse scripts that try.
const BROWSERS_OWN = new Set(['host', 'content-length', 'date']);
const QUIET = { debug() {}, warn() {}, error() {} };

export class Transfers {
  #hooks = new Map();
  #count = 0;
  #uppy;

  constructor() {
    this.#uppy = new Uppy({ autoProceed: true, logger: QUIET });
    this.#uppy.use(AwsS3, {
      limit: AT_ONCE,
      shouldUseMultipart: false,
      generateObjectKey: (file) => file.id,
      signRequest: async ({ key }) => {
        const { url, headers } = await this.#hooks.get(key).address();
        return { url, headers: Object.fromEntries(Object.entries(headers ?? {}).filter(([name]) => !BROWSERS_OWN.has(name.toLowerCase()))) };
      },
    });
    this.#uppy.on('upload-progress', (file, { bytesUploaded }) => this.#hooks.get(file?.id)?.progress(bytesUploaded));
    this.#uppy.on('upload-success', (file) => this.#end(file?.id)?.sent());
    this.#uppy.on('upload-error', (file, error) => this.#end(file?.id)?.failed(meaning(error)));
  }

  /** Take an ended file out of Uppy: whatever is left in its list with an error would be sent again with the next file. */
  #end(id) {
    const hooks = this.#hooks.get(id);
    this.#hooks.delete(id);
    setTimeout(() => this.#uppy.getFile(id) && this.#uppy.removeFile(id));
    return hooks;
  }

  /**
   * @param {Blob} data
   * @param {string} contentType as declared to the server
   * @param {{address: () => Promise<{url: string, headers?: object}>, progress: (bytes: number) => void, sent: () => void, failed: (error: ApiError) => void}} hooks
   * @returns {() => void} stops the transfer
   */
  add(data, contentType, hooks) {
    this.#count += 1;
    // Uppy takes two files of one name and size for the same; a number of its own keeps every attempt apart.
    const id = this.#uppy.addFile({ name: 'part', type: contentType, data, meta: { relativePath: `attempt-${this.#count}` } });
    this.#hooks.set(id, hooks);
    return () => {
      if (!this.#hooks.has(id)) return;
      this.#hooks.set(id, { address: hooks.address, progress() {}, sent() {}, failed() {} });
      if (this.#uppy.getFile(id)) this.#uppy.removeFile(id);
    };
  }
}

/** Uppy's errors in our codes. They are told apart by what they hold: class names do not survive minifying. */
function meaning(error) {
  if (error instanceof ApiError) return error;
  if (error.code === 'NETWORK') return new ApiError({ code: 'network' });
  const { status } = error;
  if (!status) return new ApiError({ code: 'browser', message: error.message });
  if (status === 412) return new ApiError({ code: 'already_there', status });
  if (status === 413) return new ApiError({ code: 'piece_too_large', status });
  return new ApiError({ code: 'storage_refused', status });
}
