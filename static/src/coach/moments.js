// Pictures of the moments: those that were stored, and those of moments that a person moved, taken from the video here.
import { drawPose } from './stage.js';

const SHORTER_SIDE = 360;

/** @param {HTMLElement} root @param {import('./recording.js').Recording} recording */
export async function showMoments(root, recording) {
  for (const picture of root.querySelectorAll('[data-key-frame]')) picture.src = recording.files[picture.dataset.keyFrame] ?? '';
  const canvases = [...root.querySelectorAll('[data-key-frame-at]')];
  if (!canvases.length) return;
  const video = Object.assign(document.createElement('video'), { muted: true, preload: 'auto', src: recording.video.url });
  try {
    await heard(video, 'loadeddata');
    for (const canvas of canvases) {
      const time = Number(canvas.dataset.keyFrameAt);
      const arrives = heard(video, 'seeked');
      video.currentTime = time;
      await arrives;
      draw(canvas, video, recording, time);
    }
  } catch {
    // A video that does not play here has no pictures; the player says so.
  } finally {
    video.removeAttribute('src');
    video.load();
  }
}

function draw(canvas, video, recording, time) {
  const { width, height } = recording;
  const scale = Math.min(1, SHORTER_SIDE / Math.min(width, height));
  Object.assign(canvas, { width: width * scale, height: height * scale });
  const pen = canvas.getContext('2d');
  pen.drawImage(video, 0, 0, canvas.width, canvas.height);
  pen.scale(scale, scale);
  const points = recording.poseAt(time);
  if (points) drawPose(pen, points, recording);
  canvas.dataset.drawn = 'yes';
}

function heard(video, name) {
  return new Promise((resolve, reject) => {
    video.addEventListener(name, resolve, { once: true });
    video.addEventListener('error', reject, { once: true });
  });
}
