// A <video> with the keys people know from other players, and an address that is signed anew before or after it expires.
// A video that has a ladder of sizes plays that, and its file when that does not work.
import { Controls } from './controls.js';
import { changeVolume, toggleSound } from './sound.js';

const EARLY_MS = 5_000;
const LOUDER = 0.05;

export class Player {
  #video;
  #problem;
  #expires;
  #renewing = null;
  #failures = 0;
  #ladder = null;

  constructor(video) {
    this.#video = video;
    this.controls = new Controls(video, { toggle: () => this.#toggle(), fullScreen: () => this.#fullScreen() });
    this.#problem = video.parentElement.querySelector('[data-player-problem]');
    this.#expires = Date.parse(video.dataset.expires);
    video.addEventListener('error', () => this.#onError());
    video.addEventListener('play', () => this.#ifExpired());
    video.addEventListener('seeking', () => this.#ifExpired());
    video.addEventListener('playing', () => (this.#failures = 0));
    this.#problem?.querySelector('[data-player-again]')?.addEventListener('click', () => this.#again());
    const keys = (event) => {
      if (video.isConnected) this.#onKey(event);
      else document.removeEventListener('keydown', keys, true);
    };
    // Capture: the browser's own keys on a focused <video> would act a second time.
    document.addEventListener('keydown', keys, true);
    if (!video.dataset.ladder) return;
    this.controls.onSize((size) => this.#choose(size));
    if (!video.hasAttribute('src')) this.#playLadder('auto');
  }

  // --- sizes ----------------------------------------------------------------------------------------------------------

  /** @param {string} size  "file": as it was sent; else as the ladder takes it */
  #choose(size) {
    if (size !== 'file' && this.#ladder) this.#ladder.choose(size);
    else this.#change(() => (size === 'file' ? this.#playFile() : this.#playLadder(size)));
  }

  /** Begin anew with another source, at the same moment. */
  async #change(begin) {
    const video = this.#video;
    const { currentTime, paused } = video;
    await begin();
    if (!this.#ladder) return; // a file keeps its place by itself
    video.currentTime = currentTime;
    if (!paused) video.play().catch(() => {});
  }

  #playFile() {
    const { currentTime, paused } = this.#video;
    this.#ladder?.stop();
    this.#ladder = null;
    return this.#renew({ currentTime, paused });
  }

  async #playLadder(size) {
    const video = this.#video;
    const { playLadder } = await import('./ladder.js').catch(() => ({}));
    this.#ladder = playLadder?.(video, video.dataset.ladder, size, () => {
      this.#ladder = null;
      this.controls.onlyFile();
      this.#renew();
    }) ?? null;
    if (this.#ladder) return;
    this.controls.onlyFile();
    if (!video.hasAttribute('src')) await this.#renew();
  }

  get #stage() {
    return this.#video.closest('.stage');
  }

  // --- keys -----------------------------------------------------------------------------------------------------------

  #onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const slider = event.target.matches('[data-volume]');
    if (slider && /^Arrow|^Home|^End/.test(event.key)) return;
    const inside = slider || event.target === this.#video || event.target.matches('[data-seek]');
    if (!inside && event.target.closest('input, textarea, select, dialog, [contenteditable], .menu')) return;
    // Space presses the focused button or opens the focused link's menu: that is not for the player.
    if (event.key === ' ' && !inside && event.target.closest('button, a, summary')) return;
    const act = this.#action(event) ?? this.#loudness(event);
    if (!act || this.#video.hidden) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }

  #action({ key, code, shiftKey }) {
    const video = this.#video;
    if (/^Digit\d$/.test(code) && !shiftKey && Number.isFinite(video.duration)) {
      return () => (video.currentTime = (video.duration * Number(code.at(-1))) / 10);
    }
    return {
      ' ': () => this.#toggle(),
      k: () => this.#toggle(),
      j: () => this.#skip(-10),
      l: () => this.#skip(10),
      ArrowLeft: () => this.#skip(-5),
      ArrowRight: () => this.#skip(5),
      ',': () => this.#step(-1),
      '.': () => this.#step(1),
      m: () => toggleSound(video),
      f: () => this.#fullScreen(),
    }[key.length === 1 ? key.toLowerCase() : key];
  }

  /** Up and down scroll the page, except in the player and where there is no page to scroll. */
  #loudness({ key, target }) {
    const by = { ArrowUp: LOUDER, ArrowDown: -LOUDER }[key];
    const here = document.fullscreenElement === this.#stage || this.#stage.contains(target);
    return by && here && !target.matches('[data-seek]') ? () => changeVolume(this.#video, by) : undefined;
  }

  #toggle() {
    if (this.#video.paused) this.#video.play().catch(() => {}); // a refusal shows as an error event
    else this.#video.pause();
  }

  #skip(seconds) {
    const end = Number.isFinite(this.#video.duration) ? this.#video.duration : Infinity;
    this.#video.currentTime = Math.min(Math.max(0, this.#video.currentTime + seconds), end);
  }

  #step(frames) {
    this.#video.pause();
    this.#skip(frames / (Number(this.#video.dataset.fps) || 25));
  }

  #fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else if (this.#stage.requestFullscreen) this.#stage.requestFullscreen().catch(() => {});
    else this.#video.webkitEnterFullscreen?.(); // phones that have none for elements
  }

  // --- the signed address -------------------------------------------------------------------------------------------------

  #ifExpired() {
    if (!this.#ladder && Date.now() > this.#expires - EARLY_MS) this.#renew();
  }

  async #onError() {
    if (this.#ladder) return; // it looks after itself
    this.#failures += 1;
    if (this.#failures > 1 || !(await this.#renew())) this.#show(true);
  }

  /** Ask for a fresh address and go on where we were. Resolves to whether there is one. */
  #renew(at = this.#video) {
    const { currentTime, paused } = at;
    this.#renewing ??= this.#fetch(currentTime, paused).finally(() => (this.#renewing = null));
    return this.#renewing;
  }

  async #fetch(currentTime, paused) {
    const video = this.#video;
    const { playbackRate } = video;
    try {
      const answer = await fetch(video.dataset.renew, { headers: { Accept: 'application/json' } });
      if (!answer.ok) return false;
      const { url, expires_at: expires } = await answer.json();
      this.#expires = Date.parse(expires);
      video.src = url;
      video.currentTime = currentTime;
      video.playbackRate = playbackRate;
      if (!paused) await video.play().catch(() => {}); // the person presses play again
      return true;
    } catch {
      return false; // offline
    }
  }

  #again() {
    this.#failures = 0;
    this.#show(false);
    this.#renew().then((good) => good || this.#show(true));
  }

  #show(problem) {
    this.#video.hidden = problem;
    this.#stage.querySelector('[data-controls]').hidden = problem;
    if (this.#problem) this.#problem.hidden = !problem;
  }
}
