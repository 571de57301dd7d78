// One file's way: Preparing → Uploading → Checking → Processing → Ready, with every stop and exit on it.
import { call } from './api.js';
import { checkFile, titleFrom } from './checks.js';
import { Delivery } from './delivery.js';
import { followJob } from './follow.js';
import { fingerprintOf } from './fingerprints.js';
import { passes } from './network.js';
import { grabPoster } from './poster.js';
import { Row } from './row.js';
import { Speed } from './speed.js';
import { isSameFile } from './unfinished.js';
import { left, problem, size, stageWords } from './words.js';

const MOVING = ['preparing', 'uploading', 'offline', 'checking'];
const ENDED = ['ready', 'failed', 'refused', 'cancelled', 'duplicate'];
const STEPS_MS = 1_000;
// Ticks between looks at what waits for its file.
const LOOK_TICKS = 30;
// After these the bytes have to be sent from the beginning.
const LOST = ['upload_missing', 'upload_mismatch', 'upload_expired', 'invalid_state', 'file_changed'];

export class Upload {
  state = 'preparing';
  bytes = 0;
  #delivery = null;
  #again = () => {};
  #stopFollowing = () => {};
  #videoId = null;
  #sentEdit = null;
  #speed = new Speed();
  #ticks = 0;

  /**
   * @param {object} given
   * @param {File} [given.file]
   * @param {object} [given.unfinished]  what another visit left, as the server tells of it
   * @param {object} given.rules
   * @param {HTMLTemplateElement} given.template
   * @param {object} given.turns
   * @param {() => void} given.changed
   * @param {(upload: Upload) => void} given.removed
   */
  constructor({ file, unfinished = null, rules, template, turns, changed, removed }) {
    Object.assign(this, { file, unfinished, rules, turns, changed, removed });
    this.name = file?.name ?? unfinished.filename;
    this.size = file?.size ?? unfinished.size_bytes;
    this.check = checkFile(file ?? { name: this.name, size: this.size, type: '' }, rules);
    this.row = new Row(template, {
      name: this.name,
      size: this.size,
      format: this.check.format,
      on: {
        cancel: () => this.cancel(),
        pause: () => (this.state === 'paused' ? this.#delivery.goOn() : this.#delivery.pause()),
        retry: () => this.retry(),
        remove: () => {
          if (this.canGoOn) this.#delivery.giveUp();
          removed(this);
        },
        choose: (chosen) => this.choose(chosen),
        typed: () => this.#delivery?.typed(),
        edit: () => this.#edited(),
      },
    });
    this.row.fill(unfinished ?? {}, titleFrom(this.name));
    if (file && !this.check.problem) this.#takeFile(file);
  }

  #takeFile(file) {
    this.file = file;
    this.#delivery = new Delivery({
      file,
      contentType: this.check.contentType,
      rules: this.rules,
      turns: this.turns,
      edit: () => this.#edit(),
      on: {
        state: (name) => {
          this.#enter(name);
          if (name === 'paused') this.row.live(`${Math.floor(this.percent)}% of ${size(this.size)} has arrived`);
        },
        progress: (bytes) => this.#moved(bytes),
        waiting: (error) => this.#waiting(error),
        duplicate: (of) => this.#duplicate(of),
        delivered: (video, edit) => this.#delivered(video, edit),
        failed: (error) => this.#failed(error),
      },
    });
    grabPoster(file).then((poster) => {
      if (!poster) return;
      this.row.picture(poster.url);
      this.row.facts(poster);
    });
  }

  /** Whether leaving the page would lose something. */
  get isSending() {
    return MOVING.includes(this.state) || this.state === 'paused';
  }

  get isEnded() {
    return ENDED.includes(this.state);
  }

  /** Whether its bytes did not arrive and are not on their way. */
  get isStopped() {
    return this.state === 'unfinished' || (this.isEnded && this.state !== 'ready' && this.bytes < this.size);
  }

  /** The server's id of the upload, while there is one that is no video yet. */
  get uploadId() {
    return this.#videoId ? undefined : (this.#delivery?.upload?.upload_id ?? this.unfinished?.id);
  }

  /** Whether it failed with something left on the server to go on from. */
  get canGoOn() {
    return this.state === 'failed' && Boolean(this.uploadId);
  }

  get percent() {
    return this.size ? (this.bytes / this.size) * 100 : 0;
  }

  // --- what the person does ----------------------------------------------------------------------------------------

  start(options) {
    if (this.check.problem) return this.#refuse({ code: this.check.problem });
    this.#restart();
    this.#again = () => this.start(options);
    this.#delivery.start(options);
  }

  #restart() {
    this.bytes = 0;
    this.#speed = new Speed();
    this.row.progress(0);
    this.row.live(`0% of ${size(this.size)}`);
  }

  cancel() {
    if (this.#delivery) this.#delivery.giveUp();
    else call('DELETE', `/api/uploads/${this.unfinished.id}`).catch(() => {});
    const file = this.file;
    this.#again = () => this.start();
    this.#enter('cancelled', { canRetry: Boolean(file) });
    this.unfinished = null;
  }

  retry() {
    this.#again();
  }

  /** The file an unfinished upload waits for. Answers whether it was that one. */
  async choose(file, { quietly = false } = {}) {
    const { unfinished } = this;
    if (this.state !== 'unfinished' || file.size !== this.size) {
      if (!quietly) this.#wrongFile();
      return false;
    }
    const fingerprint = await fingerprintOf(file, this.rules.fingerprinter);
    if (!isSameFile(unfinished, file, fingerprint) || this.state !== 'unfinished') {
      if (!quietly) this.#wrongFile();
      return false;
    }
    this.check = checkFile(file, this.rules);
    if (this.check.problem) return this.#refuse({ code: this.check.problem }), true;
    this.#takeFile(file);
    this.#again = () => this.start();
    if (unfinished.part_size) this.#delivery.resume(unfinished);
    else {
      // Sent whole there is nothing to go on from.
      call('DELETE', `/api/uploads/${unfinished.id}`).catch(() => {});
      this.start({ anyway: true });
    }
    return true;
  }

  #wrongFile() {
    this.row.error(problem({ code: 'another_file' }, { file: { name: this.name, size: this.size } }), 'another_file');
  }

  /** Called each half second: figures, and a look whether anything still moves. */
  tick() {
    this.#delivery?.tick();
    if (this.state === 'unfinished' && (this.#ticks += 1) % LOOK_TICKS === 0) this.#lookAgain();
    if (this.state !== 'uploading') return;
    const { rate } = this.#speed;
    const figures = [`${Math.floor(this.percent)}% of ${size(this.size)}`];
    if (this.#speed.stalled()) figures.push('Waiting for the network');
    else if (rate > 0 && this.bytes < this.size) figures.push(`${size(Math.round(rate))}/s`, left((this.size - this.bytes) / rate));
    this.row.live(...figures);
  }

  // --- what the delivery tells --------------------------------------------------------------------------------------

  /** An upload of another visit: a video when everything arrived, else it waits for its file. */
  async showUnfinished() {
    const { unfinished } = this;
    this.bytes = (unfinished.parts ?? []).reduce((sum, part) => sum + part.size_bytes, 0);
    this.row.progress(this.percent);
    this.#enter('unfinished');
    this.row.live(unfinished.part_size ? `${Math.floor(this.percent)}% of ${size(this.size)} has arrived` : '');
    // Nothing listed: sent whole, or just being put together.
    if (this.bytes > 0 && this.bytes < this.size) return;
    try {
      const edit = this.#edit();
      const video = await call('POST', `/api/uploads/${unfinished.id}/complete`, edit);
      if (this.state === 'unfinished') this.#delivered(video, edit);
    } catch {
      // It is not all there: the file is needed.
    }
  }

  /** What became of it meanwhile: the server may have found it whole, another browser may go on with it. */
  async #lookAgain() {
    const seen = await call('GET', `/api/uploads/${this.unfinished.id}`).catch(() => null);
    if (!seen || this.state !== 'unfinished') return;
    if (['cancelled', 'expired', 'failed'].includes(seen.state)) return this.removed(this);
    this.unfinished = seen;
    this.showUnfinished();
  }

  #moved(bytes) {
    if (bytes < this.bytes) this.#speed = new Speed(); // what was under way is sent again
    this.bytes = Math.min(bytes, this.size);
    this.#speed.add(this.bytes);
    this.row.progress(this.percent);
    this.changed();
  }

  #waiting(error) {
    if (error) {
      this.#enter('offline');
      if (error.code !== 'network') this.row.say('Waiting for the server');
      this.row.live(`${Math.floor(this.percent)}% of ${size(this.size)}`, error.code === 'network' ? 'Goes on by itself when the connection is back' : 'Goes on by itself');
    } else if (this.state === 'offline') {
      this.#speed = new Speed();
      this.#enter('uploading');
    }
  }

  #duplicate({ video_id: id, title }) {
    this.#again = () => this.start({ anyway: true });
    this.#enter('duplicate', { canRetry: true, retryWord: 'Upload anyway' });
    this.row.link(`/videos/${id}`);
    this.row.note(`This file is in your library already, as “${title}”. It was not sent again.`);
  }

  #delivered(video, edit) {
    this.#videoId = video.id;
    this.#sentEdit = edit;
    this.bytes = this.size;
    this.row.link(`/videos/${video.id}`);
    this.#announce(video.status);
    this.#edited(); // what was typed while it was being confirmed
    this.#process(video);
  }

  #failed(error) {
    if (!this.#delivery.upload) this.#again = () => this.start();
    else if (LOST.includes(error.code)) {
      this.#again = () => {
        this.#delivery.giveUp();
        this.start({ anyway: true });
      };
    } else this.#again = () => this.#delivery.goOn();
    this.#fail(error);
  }

  // --- processing --------------------------------------------------------------------------------------------------

  #process(video) {
    const again = () => this.#processAgain();
    if (video.status === 'completed' || !video.job_id) return this.#ready();
    if (video.status === 'failed') return this.#fail(video.error ?? {}, again);
    this.row.progress(0);
    this.#enter('processing');
    this.#stopFollowing();
    this.#stopFollowing = followJob(video.job_id, {
      update: (job) => {
        this.row.say(stageWords(job));
        this.row.progress(job.progress ?? 0);
        this.row.live(job.status === 'queued' ? '' : `${Math.floor(job.progress ?? 0)}%`);
      },
      done: () => this.#steps(),
      failed: (error) => {
        this.#announce('failed');
        this.#again = again;
        if (error.code === 'cancelled') this.#enter('cancelled', { canRetry: true });
        else this.#fail(error, again);
      },
    });
  }

  /** The first look is done; the steps it led to are jobs of their own, and the video knows when all are. */
  async #steps() {
    const video = await call('GET', `/api/videos/${this.#videoId}`).catch((error) => (passes(error) ? null : { status: 'failed', error }));
    if (this.state !== 'processing') return;
    if (video && video.status !== 'processing') return this.#process(video);
    if (video?.phase) this.row.say(stageWords({ stage: video.phase }));
    this.row.live();
    setTimeout(() => this.#steps(), STEPS_MS);
  }

  async #processAgain() {
    this.#enter('checking');
    try {
      this.#process(await call('POST', `/api/videos/${this.#videoId}/retry`));
    } catch (error) {
      this.#fail(error, () => this.#processAgain());
    }
  }

  async #ready() {
    this.#enter('ready');
    this.#announce('completed');
    try {
      const video = await call('GET', `/api/videos/${this.#videoId}`);
      if (video.poster_url) this.row.picture(video.poster_url);
      this.row.facts(video);
    } catch {
      // Only the picture is missing; the video is there, and its link works.
    }
  }

  // --- the row -----------------------------------------------------------------------------------------------------

  #enter(state, options) {
    this.state = state;
    this.row.state(state, { canPause: Boolean(this.#delivery?.upload?.part_size), ...options });
    this.changed();
  }

  #words(error) {
    return problem(error, { ...this.rules, ...this.check, file: { name: this.name, size: this.size } });
  }

  #refuse(error) {
    this.#enter('refused');
    this.row.error(this.#words(error), error.code);
  }

  #fail(error, again = this.#again) {
    const words = this.#words(error);
    this.#again = again;
    this.#enter('failed', { canRetry: words.retry });
    this.row.error(words, error.code);
    if (error.status === 401) document.dispatchEvent(new CustomEvent('upload:logged-out'));
  }

  // --- title, description, project ---------------------------------------------------------------------------------

  #edit() {
    const { title, description, project } = this.row.typed();
    return { title: title || titleFrom(this.name), description, ...(project && !this.#videoId ? { project_id: project } : {}) };
  }

  /** Send what was typed since the last time; before the video exists this browser keeps it for the confirmation. */
  async #edited() {
    if (!this.#videoId) return;
    const { title, description } = this.#edit();
    if (title === this.#sentEdit?.title && description === this.#sentEdit?.description) return;
    this.#sentEdit = { title, description };
    try {
      await call('PATCH', `/api/videos/${this.#videoId}`, { title, description });
      this.row.saved('Saved');
      this.#announce('edited');
    } catch (error) {
      this.#sentEdit = null;
      this.row.saved(`Not saved. ${this.#words(error).what}`);
    }
  }

  #announce(status) {
    document.body.dispatchEvent(new CustomEvent('video:changed', { detail: { video_id: this.#videoId, status } }));
  }
}
