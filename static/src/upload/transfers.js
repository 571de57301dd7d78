// Moves bytes from the browser straight to the storage, with Uppy: at most three files at once, each with a signed
// address that is asked for at the moment its turn comes.
import AwsS3 from '@uppy/aws-s3';
import Uppy from '@uppy/core';

import { ApiError } from './api.js';

const AT_ONCE = 3;
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
        const { upload_url: url, headers } = await this.#hooks.get(key).begin();
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
   * @param {File} file
   * @param {string} contentType as declared to the server
   * @param {{begin: () => Promise<object>, progress: (bytes: number) => void, sent: () => void, failed: (error: Error) => void}} hooks
   * @returns {() => void} stops the transfer
   */
  add(file, contentType, hooks) {
    this.#count += 1;
    // Uppy takes two files of one name and size for the same; a number of its own keeps every attempt apart.
    const id = this.#uppy.addFile({ name: file.name, type: contentType, data: file, meta: { relativePath: `attempt-${this.#count}` } });
    this.#hooks.set(id, hooks);
    return () => {
      this.#hooks.set(id, { begin: hooks.begin, progress() {}, sent() {}, failed() {} });
      if (this.#uppy.getFile(id)) this.#uppy.removeFile(id);
    };
  }
}

/** Uppy's errors in our codes. They are told apart by what they hold: class names do not survive minifying. */
function meaning(error) {
  if (error instanceof ApiError) return error;
  if (error.code === 'NETWORK') return new ApiError({ code: 'network' });
  if (error.status === 412) return new ApiError({ code: 'already_there', status: 412 });
  if (error.status) {
    const expired = error.status === 403 && /expired/i.test(`${error.serviceCode} ${error.body}`);
    return new ApiError({ code: expired ? 'upload_expired' : 'storage_refused', status: error.status });
  }
  return new ApiError({ code: 'browser', message: error.message });
}
