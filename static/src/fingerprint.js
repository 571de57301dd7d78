// A worker thread: the fingerprint of a file, so that one that is here already is not sent a second time.
//
// SHA-256 over the first MiB, the last MiB and the size: any change of length shows, and so does nearly any other. Not the
// whole file, because people wait for it. The browser's own digest is quicker, but it needs https or this machine.
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';

const SAMPLE = 1024 * 1024;

self.onmessage = async ({ data: { id, file } }) => {
  try {
    const first = file.slice(0, SAMPLE);
    const end = file.slice(Math.max(SAMPLE, file.size - SAMPLE));
    const looked = new Uint8Array(await new Blob([first, end, String(file.size)]).arrayBuffer());
    const digest = self.crypto.subtle ? new Uint8Array(await self.crypto.subtle.digest('SHA-256', looked)) : sha256(looked);
    self.postMessage({ id, fingerprint: bytesToHex(digest) });
  } catch {
    self.postMessage({ id, fingerprint: null }); // the file cannot be read; whoever sends it will say so
  }
};
