// Uploads that a closed tab left behind. The server knows what arrived of them, and what was typed as far as it was told; the
// file itself has to be chosen again: pages may not open files by themselves, and a copy of every film would fill the disk.
import { memory } from '../ui/dom.js';

const KEY = 'uploads';
const MOST = 50;
const ANSWER_MS = 250;

// --- what this browser began -----------------------------------------------------------------------------------------

// Until this browser knows that it is a video. Files that are sent whole go on only here: those of other browsers and of
// programs are in the server's list too, and are not ours to ask about. What is sent in parts can go on from anywhere.

/** @returns {{id: string, typed?: object}[]} */
function kept() {
  try {
    return (JSON.parse(memory.get(KEY)) ?? []).map((one) => (typeof one === 'string' ? { id: one } : one));
  } catch {
    return [];
  }
}

/**
 * @param {string} uploadId
 * @param {object} [typed]  what the server has not been told yet; without it, nothing of that kind
 */
export function remember(uploadId, typed) {
  memory.set(KEY, JSON.stringify([{ id: uploadId, typed }, ...kept().filter(({ id }) => id !== uploadId)].slice(0, MOST)));
}

export function forget(uploadId) {
  if (isOurs(uploadId)) memory.set(KEY, JSON.stringify(kept().filter(({ id }) => id !== uploadId)));
}

export function ours() {
  return kept().map(({ id }) => id);
}

export function isOurs(uploadId) {
  return ours().includes(uploadId);
}

/** What was typed for an upload and did not get through to the server. */
export function typedFor(uploadId) {
  return kept().find(({ id }) => id === uploadId)?.typed ?? null;
}

// --- other tabs: what is being sent there is not unfinished ----------------------------------------------------------

const channel = 'BroadcastChannel' in window ? new BroadcastChannel('uploads') : null;

/** Answer other tabs that ask what is on its way here. @param {() => (string | undefined)[]} ids  one for each file */
export function answerTabs(ids) {
  channel?.addEventListener('message', ({ data }) => data === 'who' && channel.postMessage({ ids: ids() }));
}

/** @returns {Promise<{ids: Set<string>, count: number}>} the uploads that live in other tabs of this browser */
export function inOtherTabs() {
  const found = { ids: new Set(), count: 0 };
  if (!channel) return Promise.resolve(found);
  const hear = ({ data }) => {
    data.ids?.forEach((id) => found.ids.add(id));
    found.count += data.ids?.length ?? 0;
  };
  channel.addEventListener('message', hear);
  channel.postMessage('who');
  return new Promise((resolve) => setTimeout(() => (channel.removeEventListener('message', hear), resolve(found)), ANSWER_MS));
}

/** Whether `file` is the one an upload began with. */
export function isSameFile(upload, file, fingerprint) {
  if (upload.size_bytes !== file.size) return false;
  return upload.checksum && fingerprint ? upload.checksum === fingerprint : upload.filename === file.name;
}
