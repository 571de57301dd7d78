// The position of a player: moved by pointer, finger or keys, with a look at the moment under the pointer.
import { previewOf } from './preview.js';

// The middle of the knob stays this far inside the bar.
const KNOB_PX = 6;

export class Seek {
  #video;
  #input;
  #look;
  #dragging = false;
  #byTouch = false;

  /** @param {HTMLVideoElement} video @param {HTMLElement} root @param {(seconds: number) => void} show a position that is about to be */
  constructor(video, root, show) {
    this.#video = video;
    this.#input = root.querySelector('[data-seek]');
    this.#look = root.querySelector('[data-look]');
    const input = this.#input;
    input.addEventListener('input', () => {
      this.#dragging = true;
      // Under a finger the look shows where it goes; fetching every moment on the way would keep the last one waiting.
      if (!this.#byTouch) video.currentTime = Number(input.value);
      show(Number(input.value));
    });
    for (const name of ['change', 'pointerup', 'pointercancel']) input.addEventListener(name, () => this.#land());
    input.addEventListener('pointerdown', (event) => {
      this.#byTouch = event.pointerType === 'touch';
      this.#lookAt(event);
    });
    input.addEventListener('keydown', () => (this.#byTouch = false));
    input.addEventListener('pointermove', (event) => this.#lookAt(event));
    // A finger that is lifted or taken for something else leaves, too.
    input.addEventListener('pointerleave', () => (this.#look.hidden = true));
  }

  /** Seconds; 0 while nobody knows. */
  get length() {
    return Number.isFinite(this.#video.duration) ? this.#video.duration : Number(this.#video.dataset.duration) || 0;
  }

  /** Go where the film is, unless somebody is moving the knob. Answers whether it did. */
  follow() {
    if (this.#dragging) return false;
    this.#input.max = String(this.length || 1);
    this.#input.value = String(this.#video.currentTime);
    return true;
  }

  #land() {
    if (this.#dragging && this.#byTouch) this.#video.currentTime = Number(this.#input.value);
    this.#dragging = false;
  }

  #lookAt({ clientX }) {
    const look = this.#look;
    const box = this.#input.getBoundingClientRect();
    const part = Math.min(1, Math.max(0, (clientX - box.left - KNOB_PX) / (box.width - 2 * KNOB_PX)));
    look.hidden = !this.length;
    look.querySelector('[data-look-time]').textContent = time(part * this.length);
    const half = look.offsetWidth / 2;
    look.style.left = `${Math.min(Math.max(clientX - box.left, half), box.width - half)}px`;
    const track = this.#video.dataset.preview;
    if (!track) return;
    previewOf(track).then(
      (preview) => preview.draw(look.querySelector('canvas'), part * this.length).then((drawn) => drawn && look.toggleAttribute('data-drawn', true)),
      () => {}, // the time alone says enough
    );
  }
}

/** 0:07, 1:02:03 */
export function time(seconds) {
  const whole = Math.floor(seconds || 0);
  const pad = (n) => String(n).padStart(2, '0');
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`;
}
