// The bar below a player: play, position with a look at any moment, sound, size, full screen. Without scripts the browser's
// own controls stay.
import { setIcon } from './dom.js';
import { previewOf } from './preview.js';

const IDLE_MS = 2_500;

export class Controls {
  #video;
  #stage;
  #bar;
  #idle;
  #dragging = false;

  /** @param {HTMLVideoElement} video @param {{toggle: () => void, fullScreen: () => void}} act */
  constructor(video, act) {
    this.#video = video;
    this.#stage = video.closest('.stage');
    this.#bar = this.#stage.querySelector('[data-controls]');
    video.removeAttribute('controls');
    this.#bar.hidden = video.hidden;
    this.#listen(act);
    this.#followPosition();
    this.#showSound();
  }

  #at(name) {
    return this.#bar.querySelector(`[data-${name}]`);
  }

  get #length() {
    return Number.isFinite(this.#video.duration) ? this.#video.duration : Number(this.#video.dataset.duration) || 0;
  }

  #listen(act) {
    const video = this.#video;
    this.#at('play').addEventListener('click', act.toggle);
    this.#at('full').addEventListener('click', act.fullScreen);
    this.#at('sound').addEventListener('click', () => (video.muted = !video.muted));
    video.addEventListener('click', act.toggle);
    video.addEventListener('dblclick', act.fullScreen);
    for (const name of ['play', 'pause', 'ended', 'emptied']) video.addEventListener(name, () => this.#showPlaying());
    for (const name of ['timeupdate', 'seeking', 'durationchange', 'loadedmetadata']) video.addEventListener(name, () => this.#followPosition());
    for (const name of ['volumechange', 'loadedmetadata']) video.addEventListener(name, () => this.#showSound());
    for (const name of ['progress', 'timeupdate']) video.addEventListener(name, () => this.#showLoaded());
    for (const name of ['waiting', 'seeking']) video.addEventListener(name, () => this.#stage.toggleAttribute('data-waiting', true));
    for (const name of ['playing', 'seeked', 'canplay', 'error', 'pause']) video.addEventListener(name, () => this.#stage.removeAttribute('data-waiting'));
    document.addEventListener('fullscreenchange', () => this.#showFull());
    for (const name of ['pointermove', 'pointerdown', 'keydown', 'focusin']) this.#stage.addEventListener(name, () => this.#wake());

    const seek = this.#at('seek');
    seek.addEventListener('input', () => {
      this.#dragging = true;
      video.currentTime = Number(seek.value);
      this.#showTime(Number(seek.value));
    });
    seek.addEventListener('change', () => (this.#dragging = false));
    const track = video.dataset.preview;
    const look = this.#at('look');
    seek.addEventListener('pointermove', (event) => {
      const box = seek.getBoundingClientRect();
      const part = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      look.hidden = !this.#length;
      this.#at('look-time').textContent = time(part * this.#length);
      const half = look.offsetWidth / 2;
      look.style.left = `${Math.min(Math.max(part * box.width, half), box.width - half)}px`;
      if (!track) return;
      previewOf(track).then(
        (preview) => preview.draw(look.querySelector('canvas'), part * this.#length).then((drawn) => drawn && look.toggleAttribute('data-drawn', true)),
        () => {}, // the time alone says enough
      );
    });
    seek.addEventListener('pointerleave', () => (look.hidden = true));
  }

  /** The sizes to choose from; the choice goes to `choose` (-1: the connection decides). */
  offerSizes(levels, choose) {
    const select = this.#at('sizes');
    if (levels.length < 2) return;
    for (const { id, height } of [...levels].sort((a, b) => b.height - a.height)) select.add(new Option(`${height}p`, String(id)));
    select.hidden = false;
    select.addEventListener('change', () => choose(Number(select.value)));
  }

  #followPosition() {
    if (this.#dragging) return;
    const seek = this.#at('seek');
    seek.max = String(this.#length || 1);
    seek.value = String(this.#video.currentTime);
    this.#showTime(this.#video.currentTime);
    this.#showLoaded();
  }

  #showTime(now) {
    const whole = this.#length;
    const words = `${time(now)} / ${time(whole)}`;
    const place = this.#at('time');
    if (place.textContent !== words) place.textContent = words;
    this.#at('seek').setAttribute('aria-valuetext', `${time(now)} of ${time(whole)}`);
    this.#bar.style.setProperty('--at', whole ? String(now / whole) : '0');
  }

  #showLoaded() {
    const { buffered, currentTime } = this.#video;
    let loaded = 0;
    for (let i = 0; i < buffered.length; i += 1) {
      if (buffered.start(i) <= currentTime + 0.1) loaded = Math.max(loaded, buffered.end(i));
    }
    this.#bar.style.setProperty('--loaded', this.#length ? String(Math.min(1, loaded / this.#length)) : '0');
  }

  #showPlaying() {
    const { paused } = this.#video;
    this.#say('play', paused ? 'play' : 'pause', paused ? 'Play' : 'Pause');
    this.#wake();
  }

  #showSound() {
    const { muted, volume } = this.#video;
    const off = muted || volume === 0;
    this.#say('sound', off ? 'volume-x' : 'volume-2', off ? 'Sound on' : 'Sound off');
  }

  #showFull() {
    const full = document.fullscreenElement === this.#stage;
    this.#say('full', full ? 'minimize' : 'maximize', full ? 'Leave full screen' : 'Full screen');
  }

  #say(name, picture, words) {
    const button = this.#at(name);
    setIcon(button.querySelector('svg'), picture);
    button.setAttribute('aria-label', words);
    button.title = words;
  }

  /** Show the bar; while the film plays it goes away after a moment, unless somebody is in it. */
  #wake() {
    this.#stage.removeAttribute('data-idle');
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      if (!this.#video.paused && !this.#bar.matches(':hover, :focus-within')) this.#stage.toggleAttribute('data-idle', true);
    }, IDLE_MS);
  }
}

/** 0:07, 1:02:03 */
function time(seconds) {
  const whole = Math.floor(seconds || 0);
  const pad = (n) => String(n).padStart(2, '0');
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`;
}
