// The bar below a player: play, position, sound, size, speed, full screen. Without scripts the browser's own controls stay.
import { setIcon } from './dom.js';
import { Seek, time } from './seek.js';
import { followSpeed, followVolume, toggleSound } from './sound.js';

const IDLE_MS = 2_500;

export class Controls {
  #video;
  #stage;
  #bar;
  #idle;
  #seek;

  /** @param {HTMLVideoElement} video @param {{toggle: () => void, fullScreen: () => void}} act */
  constructor(video, act) {
    this.#video = video;
    this.#stage = video.closest('.stage');
    this.#bar = this.#stage.querySelector('[data-controls]');
    video.removeAttribute('controls');
    this.#bar.hidden = video.hidden;
    this.#seek = new Seek(video, this.#at('seek').closest('.seek'), (now) => this.#showTime(now));
    this.#listen(act);
    if (this.#at('volume')) followVolume(video, this.#at('volume'));
    followSpeed(video, this.#at('speed'));
    this.#followPosition();
    if (this.#at('volume')) this.#showSound();
  }

  #at(name) {
    return this.#bar.querySelector(`[data-${name}]`);
  }

  #listen(act) {
    const video = this.#video;
    this.#at('play').addEventListener('click', act.toggle);
    this.#at('full').addEventListener('click', act.fullScreen);
    this.#at('sound').addEventListener('click', () => toggleSound(video));
    video.addEventListener('click', act.toggle);
    video.addEventListener('dblclick', act.fullScreen);
    for (const name of ['play', 'pause', 'ended', 'emptied']) video.addEventListener(name, () => this.#showPlaying());
    for (const name of ['timeupdate', 'seeking', 'durationchange', 'loadedmetadata']) video.addEventListener(name, () => this.#followPosition());
    if (this.#at('volume')) for (const name of ['volumechange', 'loadedmetadata']) video.addEventListener(name, () => this.#showSound());
    for (const name of ['progress', 'timeupdate']) video.addEventListener(name, () => this.#showLoaded());
    for (const name of ['waiting', 'seeking']) video.addEventListener(name, () => this.#stage.toggleAttribute('data-waiting', true));
    for (const name of ['playing', 'seeked', 'canplay', 'error', 'pause']) video.addEventListener(name, () => this.#stage.removeAttribute('data-waiting'));
    document.addEventListener('fullscreenchange', () => this.#showFull());
    for (const name of ['pointermove', 'pointerdown', 'keydown', 'focusin']) this.#stage.addEventListener(name, () => this.#wake());
  }

  /** Where there are sizes, the one that is chosen goes to `choose`. */
  onSize(choose) {
    const select = this.#at('sizes');
    select.addEventListener('change', () => choose(select.value));
  }

  /** The sizes do not play: there is nothing to choose. */
  onlyFile() {
    this.#at('sizes').hidden = true;
  }

  #followPosition() {
    if (!this.#seek.follow()) return;
    this.#showTime(this.#video.currentTime);
    this.#showLoaded();
  }

  #showTime(now) {
    const whole = this.#seek.length && Math.max(1, this.#seek.length); // no film is of no length
    const words = `${time(now)} / ${time(whole)}`;
    const place = this.#at('time');
    if (place.textContent !== words) place.textContent = words;
    this.#at('seek').setAttribute('aria-valuetext', `${time(now)} of ${time(whole)}`);
    this.#bar.style.setProperty('--at', whole ? String(now / this.#seek.length) : '0');
  }

  #showLoaded() {
    const { buffered, currentTime } = this.#video;
    let loaded = 0;
    for (let i = 0; i < buffered.length; i += 1) {
      if (buffered.start(i) <= currentTime + 0.1) loaded = Math.max(loaded, buffered.end(i));
    }
    this.#bar.style.setProperty('--loaded', this.#seek.length ? String(Math.min(1, loaded / this.#seek.length)) : '0');
  }

  #showPlaying() {
    const { paused } = this.#video;
    this.#say('play', paused ? { icon: 'play', words: 'Play' } : { icon: 'pause', words: 'Pause' });
    this.#wake();
  }

  #showSound() {
    const { muted, volume } = this.#video;
    const off = muted || volume === 0;
    this.#say('sound', off ? { icon: 'volume-x', words: 'Sound on' } : { icon: 'volume-2', words: 'Sound off' });
  }

  #showFull() {
    const full = document.fullscreenElement === this.#stage;
    this.#say('full', full ? { icon: 'minimize', words: 'Leave full screen' } : { icon: 'maximize', words: 'Full screen' });
  }

  #say(name, { icon, words }) {
    const button = this.#at(name);
    setIcon(button.querySelector('svg'), icon);
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
