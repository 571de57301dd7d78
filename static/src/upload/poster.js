// A first picture of a file, made by the browser itself when it can play the format. One file at a time: decoding is heavy.
import { lineSpeed } from './line.js';

const WIDTH = 320;
const GIVE_UP_MS = 5_000;
// Some browsers show nothing of a film before somebody looks for a place in it.
const FIRST_MS = 1_000;
// Of 255: a picture whose pixels differ less from each other is black, or another single colour.
const DULL = 24;
// What a quick line takes in so long is sent first: the machine, and not the line, is what sending waits for then.
const SOON_MS = 5_000;
const LOOK_MS = 100;
let last = Promise.resolve();

/**
 * @param {File} file
 * @param {() => boolean} isSending  whether it is on its way still
 * @returns {Promise<{poster_url: string, duration: number, width: number, height: number} | null>} an object URL of a JPEG
 */
export async function lookInto(file, isSending) {
  const began = performance.now();
  const isQuick = (file.size / lineSpeed()) * 1000 < SOON_MS;
  while (isQuick && isSending() && performance.now() - began < SOON_MS) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  const mine = last.then(() => grab(file)).catch(() => null);
  last = mine;
  return mine;
}

async function grab(file) {
  const video = document.createElement('video');
  const source = URL.createObjectURL(file);
  video.muted = true;
  video.playsInline = true;
  // The first picture costs a third of any other, while the file is about to be sent.
  video.preload = 'metadata';
  try {
    video.src = source;
    await once(video, 'loadedmetadata');
    if (!video.videoWidth) return null;
    const isThere = await firstPicture(video);
    const canvas = document.createElement('canvas');
    canvas.width = WIDTH;
    canvas.height = Math.max(1, Math.round((WIDTH * video.videoHeight) / video.videoWidth));
    const context = canvas.getContext('2d', { willReadFrequently: true });
    const draw = () => context.drawImage(video, 0, 0, canvas.width, canvas.height);
    if (isThere) draw();
    if (!isThere || isDull(context)) {
      video.currentTime = Number.isFinite(video.duration) ? Math.min(1, video.duration / 4) : 0;
      await once(video, 'seeked');
      draw();
    }
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, 'image/jpeg', 0.8));
    if (!blob) return null;
    return { poster_url: URL.createObjectURL(blob), duration: video.duration, width: video.videoWidth, height: video.videoHeight };
  } finally {
    video.removeAttribute('src');
    video.load();
    URL.revokeObjectURL(source);
  }
}

/** Whether there is something to draw without looking for it. */
function firstPicture(video) {
  return new Promise((resolve) => {
    setTimeout(() => resolve(false), video.requestVideoFrameCallback ? FIRST_MS : 0);
    video.requestVideoFrameCallback?.(() => resolve(true));
  });
}

/** Films often begin in the dark. Looks at the green, which is most of what one sees. */
function isDull(context) {
  const { data } = context.getImageData(0, 0, context.canvas.width, context.canvas.height);
  let [least, most] = [255, 0];
  for (let at = 1; at < data.length; at += 4) {
    least = Math.min(least, data[at]);
    most = Math.max(most, data[at]);
  }
  return most - least < DULL;
}

function once(target, name) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('too slow')), GIVE_UP_MS);
    target.addEventListener(name, () => (clearTimeout(timer), resolve()), { once: true });
    target.addEventListener('error', () => (clearTimeout(timer), reject(new Error('cannot be played'))), { once: true });
  });
}
