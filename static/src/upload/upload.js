// One file on its way: Preparing → Uploading → Checking → Processing → Ready, with every exit on the way.
import { ApiError, call } from './api.js';
import { checkFile, titleFrom } from './checks.js';
import { followJob } from './follow.js';
import { grabPoster } from './poster.js';
import { Row } from './row.js';
import { Speed } from './speed.js';
import { left, problem, size, stageWords } from './words.js';

export class Upload {
  state = 'preparing';
  bytes = 0;
  #signed = null;
  #stopTransfer = () => {};
  #stopFollowing = () => {};
  #restart = () => this.start();
  #sentEdit = null;
  #videoId = null;
  #speed = new Speed();

  /** @param {{file: File, rules: object, template: HTMLTemplateElement, transfers: object, changed: () => void, removed: (u: Upload) => void}} with */
  constructor({ file, rules, template, transfers, changed, removed }) {
    Object.assign(this, { file, rules, transfers, changed });
    this.check = checkFile(file, rules);
    this.row = new Row(template, {
      file,
      format: this.check.format,
      title: titleFrom(file.name),
      on: {
        cancel: () => this.cancel(),
        retry: () => this.retry(),
        remove: () => removed(this),
        edit: () => this.#saveEdit(),
      },
    });
    if (!this.check.problem) this.#drawPoster();
  }

  #drawPoster() {
    grabPoster(this.file).then((poster) => {
      if (!poster) return;
      this.row.picture(poster.url);
      this.row.facts(poster);
    });
  }

  /** Whether leaving the page would lose something. */
  get isSending() {
    return ['preparing', 'uploading', 'checking'].includes(this.state);
  }

  get isEnded() {
    return ['ready', 'failed', 'refused', 'cancelled'].includes(this.state);
  }

  /** Whether its bytes did not arrive and are not on their way. */
  get isStopped() {
    return this.isEnded && this.state !== 'ready' && this.bytes < this.file.size;
  }

  start() {
    if (this.check.problem) return this.#refuse({ code: this.check.problem });
    this.bytes = 0;
    this.#speed = new Speed();
    this.#signed = null;
    this.row.progress(0);
    this.row.live(`0% of ${size(this.file.size)}`);
    this.#enter('preparing');
    this.#stopTransfer = this.transfers.add(this.file, this.check.contentType, {
      begin: () => this.#begin(),
      progress: (bytes) => this.#moved(bytes),
      sent: () => this.#confirm(),
      failed: (error) => this.#failedToSend(error),
    });
  }

  cancel() {
    this.#stopTransfer();
    this.#cancelled(() => this.start());
    this.#giveUp();
  }

  #cancelled(again) {
    this.#restart = again;
    this.#enter('cancelled', { canRetry: true });
  }

  retry() {
    const again = this.#restart;
    this.#restart = () => this.start();
    again();
  }

  /** Try again if only the network was missing. */
  online() {
    if (this.state === 'failed' && this.failure?.code === 'network') this.retry();
  }

  /** Called each second while bytes move. */
  tick() {
    if (this.state !== 'uploading') return;
    const { rate } = this.#speed;
    const figures = [`${Math.floor(this.percent)}% of ${size(this.file.size)}`];
    if (!navigator.onLine || this.#speed.stalled()) figures.push('Waiting for the network');
    else if (rate > 0 && this.bytes < this.file.size) figures.push(`${size(Math.round(rate))}/s`, left((this.file.size - this.bytes) / rate));
    this.row.live(...figures);
  }

  get percent() {
    return this.file.size ? (this.bytes / this.file.size) * 100 : 0;
  }

  // --- the way there ---------------------------------------------------------------------------------------------

  async #begin() {
    // A file that was changed or deleted since it was chosen fails here with words, not midway without.
    await this.file.slice(0, 1).arrayBuffer().catch(() => {
      throw new ApiError({ code: 'file_changed' });
    });
    const signed = await call('POST', '/api/upload/presigned-url', {
      filename: this.file.name,
      size: this.file.size,
      content_type: this.check.contentType,
    });
    this.#signed = signed;
    if (this.state !== 'preparing') {
      this.#giveUp();
      throw new ApiError({ code: 'cancelled' });
    }
    this.#enter('uploading');
    return signed;
  }

  #moved(bytes) {
    if (this.state !== 'uploading') return;
    this.bytes = Math.min(bytes, this.file.size);
    this.#speed.add(this.bytes);
    this.row.progress(this.percent);
    this.changed();
  }

  #failedToSend(error) {
    const broken = error.code === 'network' && this.#signed;
    // A refusal of the storage can reach us as a broken connection: browsers hide answers without CORS headers.
    const late = broken && Date.now() > Date.parse(this.#signed.expires_at);
    // And the last answer may be lost after the last byte arrived: ask before sending everything again.
    const arrived = error.code === 'already_there' || (broken && this.bytes >= this.file.size);
    if (arrived) return this.#confirm({ missing: late ? 'upload_expired' : 'storage_refused' });
    this.#fail(late ? new ApiError({ code: 'upload_expired' }) : error, () => this.#startOver());
  }

  #startOver() {
    this.#giveUp();
    this.start();
  }

  /** @param {{missing?: string}} [otherwise] the code to show when the server finds no object */
  async #confirm({ missing = 'upload_missing' } = {}) {
    this.bytes = this.file.size;
    this.row.progress(100);
    this.#enter('checking');
    this.#sentEdit = this.#edit();
    try {
      const video = await call('POST', '/api/videos', { video_id: this.#signed.video_id, ...this.#sentEdit });
      this.#videoId = video.id;
      this.row.link(`/videos/${video.id}`);
      this.#announce(video.status);
      this.#saveEdit();
      this.#process(video);
    } catch (error) {
      const sendAgain = ['upload_missing', 'upload_mismatch', 'upload_expired'].includes(error.code);
      if (error.code === 'upload_missing') error.code = missing;
      this.#fail(error, () => (sendAgain ? this.#startOver() : this.#confirm()));
    }
  }

  #process(video) {
    if (video.status === 'completed' || !video.job_id) return this.#ready();
    if (video.status === 'failed') return this.#fail(video.error ?? {}, () => this.#processAgain());
    this.row.progress(0);
    this.#enter('processing');
    this.#stopFollowing = followJob(video.job_id, {
      update: (job) => {
        this.row.say(stageWords(job));
        this.row.progress(job.progress ?? 0);
        this.row.live(job.status === 'queued' ? '' : `${Math.floor(job.progress ?? 0)}%`);
      },
      done: () => this.#ready(),
      failed: (error) => {
        this.#announce('failed');
        if (error.code === 'cancelled') return this.#cancelled(() => this.#processAgain());
        this.#fail(error, () => this.#processAgain());
      },
    });
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

  // --- the exits -------------------------------------------------------------------------------------------------

  #enter(state, options) {
    this.state = state;
    this.row.state(state, options);
    this.changed();
  }

  #refuse(error) {
    const { file, rules } = this;
    this.#enter('refused');
    this.row.error(problem(error, { ...rules, ...this.check, file }), error.code);
  }

  #fail(error, again) {
    if (error.code === 'cancelled' && this.state === 'cancelled') return;
    const { file, rules } = this;
    const words = problem(error, { ...rules, ...this.check, file });
    this.failure = error;
    this.#restart = again;
    this.#enter('failed', { canRetry: words.retry });
    this.row.error(words, error.code);
    if (error.status === 401) document.dispatchEvent(new CustomEvent('upload:logged-out'));
  }

  /** Tell the server that nobody will use this upload; it expires by itself when that does not arrive. */
  #giveUp() {
    const id = this.#signed?.upload_id;
    this.#signed = null;
    if (id) call('DELETE', `/api/uploads/${id}`).catch(() => {});
  }

  // --- title and description -------------------------------------------------------------------------------------

  #edit() {
    return { title: this.row.title.value.trim() || titleFrom(this.file.name), description: this.row.description.value.trim() };
  }

  /** Send what was typed since the last time; before the video exists it waits for the confirmation. */
  async #saveEdit() {
    const edit = this.#edit();
    if (!this.#videoId || (edit.title === this.#sentEdit?.title && edit.description === this.#sentEdit?.description)) return;
    this.#sentEdit = edit;
    try {
      await call('PATCH', `/api/videos/${this.#videoId}`, edit);
      this.row.saved('Saved');
      this.#announce('edited');
    } catch (error) {
      this.#sentEdit = null;
      const { file, rules } = this;
      this.row.saved(`Not saved. ${problem(error, { ...rules, file }).what}`);
    }
  }

  #announce(status) {
    document.body.dispatchEvent(new CustomEvent('video:changed', { detail: { video_id: this.#videoId, status } }));
  }
}
