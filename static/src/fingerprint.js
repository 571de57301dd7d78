// A worker thread: the fingerprint of a file, so that one that is here already is not sent a second time.
//
// SHA-256 over the first MiB, the last MiB and the size: any change of length shows, and so does nearly any other. Not the
// whole file, because people wait for it. Not the browser's own digest, because that needs https.
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';

const SAMPLE = 1024 * 1024;

self.onmessage = async ({ data: { id, file } }) => {
  try {
    const hash = sha256.create();
    hash.update(new Uint8Array(await file.slice(0, SAMPLE).arrayBuffer()));
    hash.update(new Uint8Array(await file.slice(Math.max(SAMPLE, file.size - SAMPLE)).arrayBuffer()));
    hash.update(utf8ToBytes(String(file.size)));
    self.postMessage({ id, fingerprint: bytesToHex(hash.digest()) });
  } catch {
    self.postMessage({ id, fingerprint: null }); // the file cannot be read; whoever sends it will say so
  }
};
