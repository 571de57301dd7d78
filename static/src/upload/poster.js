// A first picture of a file, made by the browser itself when it can play the format. One file at a time: decoding is heavy.

const WIDTH = 320;
const GIVE_UP_MS = 5_000;
let last = Promise.resolve();

/** @returns {Promise<{url: string, duration: number, width: number, height: number} | null>} an object URL of a JPEG */
export function grabPoster(file) {
  const mine = last.then(() => grab(file)).catch(() => null);
  last = mine;
  return mine;
}

async function grab(file) {
  const video = document.createElement('video');
  const source = URL.createObjectURL(file);
  video.muted = true;
  video.playsInline = true;
  video.preload = 'auto';
  try {
    video.src = source;
    await once(video, 'loadeddata');
    if (!video.videoWidth) return null;
    if (Number.isFinite(video.duration) && video.duration > 0.2) {
      video.currentTime = Math.min(1, video.duration / 4);
      await once(video, 'seeked');
    }
    const canvas = document.createElement('canvas');
    canvas.width = WIDTH;
    canvas.height = Math.max(1, Math.round((WIDTH * video.videoHeight) / video.videoWidth));
    canvas.getContext('2d').drawImage(video, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, 'image/jpeg', 0.8));
    if (!blob) return null;
    return { url: URL.createObjectURL(blob), duration: video.duration, width: video.videoWidth, height: video.videoHeight };
  } finally {
    video.removeAttribute('src');
    video.load();
    URL.revokeObjectURL(source);
  }
}

function once(target, name) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('too slow')), GIVE_UP_MS);
    target.addEventListener(name, () => (clearTimeout(timer), resolve()), { once: true });
    target.addEventListener('error', () => (clearTimeout(timer), reject(new Error('cannot be played'))), { once: true });
  });
}
