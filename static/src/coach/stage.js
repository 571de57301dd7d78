// A video with the athlete's skeleton drawn over it in step, frame stepping and slow motion. One time for all who listen.
import { call } from '../upload/api.js';
import { setIcon } from '../ui/dom.js';

// Addresses end; a page that was left open gets a new one, and no more often than this.
const RENEW_MS = 60_000;
const SEEN = 0.4;
const LEFT = '#4aa8ff';
const RIGHT = '#ff9f43';
const MIDDLE = '#f4f4f5';

export class Stage {
  #heard = [];
  #isDrawn = true;
  #renewed = -RENEW_MS;

  /** @param {HTMLElement} root made by `coaching/_stage.html` @param {import('./recording.js').Recording} recording */
  constructor(root, recording) {
    this.root = root;
    this.recording = recording;
    this.video = root.querySelector('video');
    this.canvas = root.querySelector('canvas');
    this.slider = root.querySelector('[data-scrub]');
    this.clock = root.querySelector('[data-clock]');
    this.canvas.width = recording.width;
    this.canvas.height = recording.height;
    root.style.setProperty('--shape', `${recording.width} / ${recording.height}`);
    this.video.src = recording.video.url;
    this.#listen();
    this.#watch();
  }

  get time() {
    return this.video.currentTime;
  }

  get duration() {
    return this.recording.summary.video.duration || this.video.duration || 0;
  }

  /** @param {(time: number) => void} hear  called with each shown frame */
  onTime(hear) {
    this.#heard.push(hear);
    hear(this.time);
  }

  seek(time) {
    this.video.pause();
    this.#go(time);
  }

  #go(time) {
    this.video.currentTime = Math.max(0, Math.min(time, this.duration));
  }

  step(direction) {
    this.seek(this.recording.neighbour(this.time, direction));
  }

  toggle() {
    if (this.video.paused) this.video.play().catch(() => {});
    else this.video.pause();
  }

  #listen() {
    const { root, video } = this;
    const on = (name, act) => root.querySelector(`[data-${name}]`)?.addEventListener('click', act);
    on('play', () => this.toggle());
    on('back', () => this.step(-1));
    on('on', () => this.step(1));
    on('bones', ({ currentTarget }) => {
      this.#isDrawn = !this.#isDrawn;
      currentTarget.setAttribute('aria-pressed', this.#isDrawn);
      this.#tell(this.time);
    });
    root.querySelector('[data-speed]')?.addEventListener('change', ({ target }) => (video.playbackRate = Number(target.value)));
    this.slider?.addEventListener('input', () => this.#go(Number(this.slider.value)));
    video.addEventListener('click', () => this.toggle());
    for (const name of ['play', 'pause', 'ended']) video.addEventListener(name, () => this.#showPlaying());
    video.addEventListener('loadedmetadata', () => {
      if (this.slider) this.slider.max = this.duration;
      this.#tell(this.time);
    });
    video.addEventListener('error', () => this.#renew());
  }

  async #renew() {
    const { video, root, time } = this;
    const isNew = performance.now() - this.#renewed > RENEW_MS;
    this.#renewed = performance.now();
    const next = isNew ? await call('GET', `/api/videos/${this.recording.videoId}/playback-url`).catch(() => null) : null;
    root.querySelector('[data-stage-problem]').hidden = Boolean(next);
    if (!next) return;
    video.src = next.url;
    video.currentTime = time;
  }

  #showPlaying() {
    const button = this.root.querySelector('[data-play]');
    if (!button) return;
    const words = this.video.paused ? 'Play' : 'Pause';
    button.setAttribute('aria-label', words);
    button.title = words;
    if (this.video.paused) setIcon(button.querySelector('svg'), 'play');
    else setIcon(button.querySelector('svg'), 'pause');
  }

  /** With each frame that is really shown, where the browser tells of it; else with each picture of the screen. */
  #watch() {
    const { video } = this;
    if ('requestVideoFrameCallback' in video) {
      const seen = (_, { mediaTime }) => {
        this.#tell(mediaTime);
        video.requestVideoFrameCallback(seen);
      };
      video.requestVideoFrameCallback(seen);
    } else {
      const look = () => {
        if (!video.paused) this.#tell(video.currentTime);
        requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    }
    video.addEventListener('seeked', () => this.#tell(video.currentTime));
  }

  #tell(time) {
    this.#draw(time);
    if (this.slider && !this.slider.matches(':active')) this.slider.value = time;
    if (this.clock) this.clock.textContent = `${time.toFixed(2)} s`;
    for (const hear of this.#heard) hear(time);
  }

  #draw(time) {
    const pen = this.canvas.getContext('2d');
    const { width, height } = this.canvas;
    pen.clearRect(0, 0, width, height);
    const points = this.recording.poseAt(time);
    this.root.dataset.seen = points ? 'yes' : 'no';
    if (points && this.#isDrawn) drawPose(pen, points, this.recording);
  }
}

/** The skeleton, in the pixels of the recording. */
export function drawPose(pen, points, { width, height, bones }) {
  const thick = Math.max(2, Math.min(width, height) / 160);
  pen.lineCap = 'round';
  for (const [from, to] of bones) {
    const [one, other] = [points[from], points[to]];
    if (!one || !other || Math.min(one[2], other[2]) < SEEN) continue;
    pen.beginPath();
    pen.moveTo(one[0], one[1]);
    pen.lineTo(other[0], other[1]);
    pen.lineWidth = thick * 1.9;
    pen.strokeStyle = 'rgb(0 0 0 / 0.45)';
    pen.stroke();
    pen.lineWidth = thick;
    pen.strokeStyle = sideOf(from, to);
    pen.stroke();
  }
  for (const [at, point] of points.entries()) {
    if (at < 11 || !point || point[2] < SEEN) continue; // the face is too small for points
    pen.beginPath();
    pen.arc(point[0], point[1], thick * 1.1, 0, 2 * Math.PI);
    pen.fillStyle = sideOf(at, at);
    pen.fill();
  }
}

/** MediaPipe's points: from the shoulders on the even ones are of the right side. */
function sideOf(from, to) {
  if (from < 11 || to < 11 || from % 2 !== to % 2) return MIDDLE;
  return from % 2 ? LEFT : RIGHT;
}
