// Every word the uploader says. The size and time formats are those of the server's pages.

export const STATES = {
  preparing: { word: 'Preparing', icon: 'clock' },
  duplicate: { word: 'Here already', icon: 'copy-check' },
  uploading: { word: 'Uploading', icon: 'arrow-up' },
  paused: { word: 'Paused', icon: 'pause' },
  offline: { word: 'No connection', icon: 'wifi-off' },
  loggedout: { word: 'Logged out', icon: 'lock' },
  unfinished: { word: 'Not finished', icon: 'circle-dashed' },
  checking: { word: 'Checking', icon: 'scan-search' },
  processing: { word: 'Processing', icon: 'loader-circle' },
  ready: { word: 'Ready', icon: 'circle-check' },
  failed: { word: 'Failed', icon: 'circle-alert' },
  refused: { word: 'Not uploaded', icon: 'circle-alert' },
  cancelled: { word: 'Cancelled', icon: 'circle-slash' },
};

/** Bytes in decimal units: 812 bytes, 4.2 MB, 1.35 GB. */
export function size(bytes) {
  if (bytes < 1000) return bytes === 1 ? '1 byte' : `${bytes} bytes`;
  const units = [['KB', 0], ['MB', 1], ['GB', 2], ['TB', 2]];
  let value = bytes;
  for (const [unit, digits] of units) {
    value /= 1000;
    if (Number(value.toFixed(digits)) < 1000 || unit === 'TB') return `${value.toFixed(digits)} ${unit}`;
  }
}

/** Seconds left, as people say them. */
export function left(seconds) {
  if (!Number.isFinite(seconds)) return '';
  if (seconds < 1.5) return 'about a second left';
  if (seconds < 55) return `${Math.ceil(seconds / 5) * 5} s left`;
  if (seconds < 3300) return `${Math.ceil(seconds / 60)} min left`;
  const hours = Math.floor(seconds / 3600);
  return `${hours} h ${Math.ceil((seconds % 3600) / 60)} min left`;
}

/** A running time as players show it: 0:07, 1:02:03; 0.5 s below one second. */
export function clock(seconds) {
  if (seconds < 1) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const pad = (n) => String(n).padStart(2, '0');
  return h ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`;
}

/** What is to be known of a film whose file was cut off; '' of a whole one. As the server's pages say it. */
export function cutOff({ missing_bytes: missing, size_bytes: there }) {
  if (!missing) return '';
  const percent = Math.round((100 * missing) / (there + missing));
  const share = percent < 1 ? 'less than 1%' : percent > 99 ? 'more than 99%' : `${percent}%`;
  return `The file ends early: ${share} of it is missing. What is there plays; upload it again for the rest.`;
}

/**
 * What went wrong, what to do, and whether trying again can help.
 * @param {{code?: string, status?: number, message?: string, fields?: Record<string, string>}} error
 */
export function problem(error, { formats, maxBytes, file, format, declared }) {
  switch (error.code) {
    case 'unsupported_type':
      return { what: 'This is not a video format we take.', why: `Choose ${formats}.`, retry: false };
    case 'type_mismatch':
      return { what: `The name says ${format}, the content says ${declared}.`, why: 'Give the file the extension that fits what is in it.', retry: false };
    case 'empty_file':
      return { what: 'The file is empty.', why: 'Its size is 0 bytes. Choose another one, or export it again.', retry: false };
    case 'file_too_large':
      return { what: 'The file is too large.', why: `It has ${size(file.size)}; files of at most ${size(maxBytes)} are taken here.`, retry: false };
    case 'file_changed':
      return { what: 'The file cannot be read any more.', why: 'It was moved, changed or deleted on your disk since you chose it. Choose it again.', retry: false };
    case 'another_file':
      return { what: 'That is another file.', why: `Choose “${file.name}”, ${size(file.size)}, as it was when the upload began. To send something else, use the field above.`, retry: false };
    case 'quota_exceeded':
      return { what: 'Your storage is full.', why: error.message || 'Delete videos you no longer need, or ask whoever runs this server for more room.', retry: true };
    case 'network':
      return { what: 'The connection was lost.', why: 'Nothing that arrived is lost. “Try again” goes on where it stopped.', retry: true };
    case 'stale_page':
      return { what: 'A part of this page could not be loaded.', why: 'The server may have been updated since you opened it. Reload the page; what arrived is kept.', retry: true };
    case 'storage_unreachable':
      return { what: 'Your browser cannot reach the storage.', why: 'This server answers, so your connection works; something between you and its storage does not let files through. Whoever runs this server can find out why under Admin, Doctor. What arrived is kept.', retry: true };
    case 'storage_refused':
      return { what: 'The storage refused the file.', why: 'That is on our side, not yours. Try again; if it stays so, tell whoever runs this server.', retry: true };
    case 'piece_too_large':
      return { what: 'Something on the way takes no pieces of this size.', why: 'Your file is not too large: a server in front of the storage has a limit that is too low. Tell whoever runs this server.', retry: true };
    case 'upload_expired':
    case 'invalid_state':
      return { what: 'The time for this upload is over.', why: 'It was not finished before its permission ran out. “Try again” asks for a new one and sends the file from the beginning.', retry: true };
    case 'upload_missing':
    case 'upload_mismatch':
    case 'parts_invalid':
      return { what: 'What arrived is not the whole file.', why: 'Something was lost on the way. “Try again” sends what is missing.', retry: true };
    case 'unauthenticated':
    case 'session_revoked':
      return { what: 'You were logged out.', why: 'Log in to go on. What you typed is kept.', retry: true };
    case 'storage_unavailable':
      return { what: 'The storage does not answer.', why: 'That is on our side. Try again in a moment.', retry: true };
    case 'validation_failed':
      return { what: error.message, why: Object.values(error.fields ?? {}).join(' '), retry: true };
    default:
      return { what: error.message || 'Something went wrong on our side.', why: error.message ? '' : 'Try again in a moment.', retry: error.retryable ?? true };
  }
}
