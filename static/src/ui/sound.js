// How loud and how fast a film plays. Loudness is remembered for good, speed until the tab is closed: somebody who looked for a
// moment in a long recording would wonder at the next film tomorrow.
import { memory, visit } from './dom.js';

const VOLUME = 'volume';
const SPEED = 'speed';

/** @param {HTMLVideoElement} video @param {HTMLInputElement} slider  0–1 */
export function followVolume(video, slider) {
  const before = Number(memory.get(VOLUME));
  if (before > 0 && before <= 1) video.volume = before;
  const show = () => {
    const heard = video.muted ? 0 : video.volume;
    slider.value = String(heard);
    slider.style.setProperty('--volume', String(heard));
    slider.setAttribute('aria-valuetext', heard ? `${Math.round(heard * 100)}%` : 'Off');
  };
  slider.addEventListener('input', () => {
    video.volume = Number(slider.value);
    video.muted = false;
  });
  video.addEventListener('volumechange', () => {
    show();
    // Silence is not remembered: the next film would seem to be broken.
    if (video.volume > 0) memory.set(VOLUME, String(video.volume));
  });
  show();
}

/** A step louder or quieter. @param {number} by of 1 */
export function changeVolume(video, by) {
  const heard = video.muted ? 0 : video.volume;
  video.volume = Math.min(1, Math.max(0, Math.round((heard + by) * 100) / 100));
  video.muted = false;
}

/** Off; and on again as loud as it was before. */
export function toggleSound(video) {
  if (!video.muted && video.volume > 0) {
    video.muted = true;
    return;
  }
  if (video.volume === 0) video.volume = Number(memory.get(VOLUME)) || 1;
  video.muted = false;
}

/** @param {HTMLVideoElement} video @param {HTMLSelectElement} select of the speeds there are */
export function followSpeed(video, select) {
  const set = (speed) => {
    video.defaultPlaybackRate = speed; // it holds for the next address of the same film, too
    video.playbackRate = speed;
  };
  const speeds = [...select.options].map(({ value }) => value);
  const before = visit.get(SPEED);
  if (speeds.includes(before)) set(Number(before));
  select.value = String(video.playbackRate);
  select.addEventListener('change', () => {
    set(Number(select.value));
    visit.set(SPEED, select.value);
  });
}
