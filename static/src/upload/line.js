// How quick the line was the last time: the server makes the parts of the next file to suit it. Large ones cost less, small
// ones lose less when the line is cut.
import { memory } from '../ui/dom.js';

const KEY = 'line';
// A browser that was carried elsewhere since has another line.
const FRESH_MS = 24 * 60 * 60 * 1000;
// Of less there is too little to tell: the beginning is slow, and buffers take the rest.
const ENOUGH_BYTES = 16 * 1024 * 1024;

/** @returns {number | undefined} bytes a second, where they are known */
export function lineSpeed(now = Date.now()) {
  const [speed, at] = (memory.get(KEY) ?? '').split(' ').map(Number);
  return speed > 0 && Math.abs(now - at) < FRESH_MS ? speed : undefined;
}

/** @param {number} bytes @param {number} ms in which they arrived */
export function noteLine(bytes, ms, now = Date.now()) {
  if (bytes >= ENOUGH_BYTES && ms > 0) memory.set(KEY, `${Math.round((bytes / ms) * 1000)} ${now}`);
}

/** It was cut. */
export function forgetLine() {
  memory.set(KEY, '');
}
