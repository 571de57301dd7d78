// Uploads that a closed tab left behind. The server knows what arrived of them, and what was typed; the file itself has to be
// chosen again: pages may not open files by themselves, and keeping a copy of every film in the browser would fill the disk.
import { memory } from '../ui/dom.js';

const KEY = 'uploads';
const MOST = 50;
const ANSWER_MS = 250;

// --- what this browser began -----------------------------------------------------------------------------------------

// Only of files that are sent whole: those of other browsers and of programs are in the server's list too, and are not ours
// to ask about. What is sent in parts can go on from anywhere.

/** @returns {string[]} */
function ours() {
  try {
    return JSON.parse(memory.get(KEY)) ?? [];
  } catch {
    return [];
  }
}

export function remember(uploadId) {
  memory.set(KEY, JSON.stringify([uploadId, ...ours()].slice(0, MOST)));
}

export function forget(uploadId) {
  if (isOurs(uploadId)) memory.set(KEY, JSON.stringify(ours().filter((id) => id !== uploadId)));
}

export function isOurs(uploadId) {
  return ours().includes(uploadId);
}

// --- other tabs: what is being sent there is not unfinished ----------------------------------------------------------

const channel = 'BroadcastChannel' in window ? new BroadcastChannel('uploads') : null;

/** Answer other tabs that ask what is on its way here. */
export function answerTabs(ids) {
  channel?.addEventListener('message', ({ data }) => data === 'who' && channel.postMessage({ ids: ids() }));
}

/** @returns {Promise<Set<string>>} the uploads that live in other tabs of this browser */
export function inOtherTabs() {
  if (!channel) return Promise.resolve(new Set());
  const found = new Set();
  const hear = ({ data }) => data.ids?.forEach((id) => found.add(id));
  channel.addEventListener('message', hear);
  channel.postMessage('who');
  return new Promise((resolve) => setTimeout(() => (channel.removeEventListener('message', hear), resolve(found)), ANSWER_MS));
}

/** Whether `file` is the one an upload began with. */
export function isSameFile(upload, file, fingerprint) {
  if (upload.size_bytes !== file.size) return false;
  return upload.checksum && fingerprint ? upload.checksum === fingerprint : upload.filename === file.name;
}
