// Asks the worker thread for fingerprints, one for all files of the page.
let worker = null;
let count = 0;
const waiting = new Map();

/** Starting a thread takes longer than a fingerprint. */
export function startFingerprinter(script) {
  worker ??= start(script);
}

/**
 * @param {File} file
 * @param {string} script the worker's address
 * @returns {Promise<string | null>} hex, or null when there is none: then nothing is known to be a duplicate
 */
export function fingerprintOf(file, script) {
  startFingerprinter(script);
  count += 1;
  const id = count;
  return new Promise((resolve) => {
    waiting.set(id, resolve);
    worker.postMessage({ id, file });
  });
}

function start(script) {
  const made = new Worker(script, { type: 'module' });
  made.addEventListener('message', ({ data }) => {
    waiting.get(data.id)?.(data.fingerprint);
    waiting.delete(data.id);
  });
  made.addEventListener('error', () => {
    for (const resolve of waiting.values()) resolve(null);
    waiting.clear();
    worker = null;
  });
  return made;
}
