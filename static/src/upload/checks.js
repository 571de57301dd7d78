// What can be said about a file before a byte is sent. The server checks all of it again.

/**
 * @param {File} file
 * @param {{types: Record<string, string[]>, maxBytes: number}} rules  file extension → its MIME types, the usual one first
 * @returns {{contentType: string, format: string} | {problem: string}}
 */
export function checkFile(file, { types, maxBytes }) {
  const extension = extensionOf(file.name);
  const format = extension === 'webm' ? 'WebM' : extension.toUpperCase();
  const allowed = types[extension];
  if (!allowed) return { problem: 'unsupported_type', format };
  // Browsers guess the type from the extension, each with a list of its own: empty, or a newer name for the same format,
  // is no contradiction. Something that is no video, or another of our formats, is.
  const declared = file.type.split(';')[0].toLowerCase();
  const ours = Object.values(types).flat();
  if (declared && !allowed.includes(declared) && (ours.includes(declared) || !declared.startsWith('video/'))) {
    return { problem: 'type_mismatch', format, declared };
  }
  if (file.size === 0) return { problem: 'empty_file', format };
  if (file.size > maxBytes) return { problem: 'file_too_large', format };
  return { contentType: allowed.includes(declared) ? declared : allowed[0], format };
}

export function extensionOf(name) {
  const dot = name.lastIndexOf('.');
  return dot > 0 ? name.slice(dot + 1).toLowerCase() : '';
}

/** A first title: the file's name without its extension, with spaces for underscores, and a capital as titles have. */
export function titleFrom(name) {
  const stem = extensionOf(name) ? name.slice(0, name.lastIndexOf('.')) : name;
  const words = stem.replace(/_+/g, ' ').replace(/\s+/g, ' ').trim() || name;
  return (words[0].toUpperCase() + words.slice(1)).slice(0, 200);
}

/** Two choices of one file on one disk look the same. */
export function looksOf(file) {
  return [file.name, file.size, file.lastModified].join('/');
}
