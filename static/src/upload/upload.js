// One file's way: Preparing → Uploading → Checking → Processing → Ready, with every stop and exit on it.
import { call } from './api.js';
import { checkFile, titleFrom } from './checks.js';
import { Delivery } from './delivery.js';
import { fingerprintOf } from './fingerprints.js';
import { isLoggedOut } from './network.js';
import { lookInto } from './poster.js';
import { Processing } from './processing.js';
import { Row } from './row.js';
import { Speed } from './speed.js';
import { Texts } from './texts.js';
import { forget, isSameFile, remember, typedFor } from './unfinished.js';
import { cutOff, problem, size } from './words.js';

const HELD = ['offline', 'loggedout'];
const MOVING = ['preparing', 'uploading', ...HELD, 'paused', 'checking'];
const ENDED = ['ready', 'failed', 'refused', 'cancelled', 'duplicate'];
// Ticks between looks at what waits for its file.
const LOOK_TICKS = 30;
// After these the bytes have to be sent from the beginning.
const LOST = ['upload_missing', 'upload_mismatch', 'upload_expired', 'invalid_state', 'file_changed'];

export class Upload {
  state = 'preparing';
  bytes = 0;
  #delivery = null;
  #again = () => {};
  #videoId = null;
  #texts = null;
  #speed = new Speed();
  #ticks = 0;
  #isDrawn = true; // what has moved
  #isWhole = false; // the storage has every byte

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
        retry: () => this.#again(),
        remove: () => {
          this.leave();
          removed(this);
        },
        choose: (chosen) => this.choose(chosen),
        typed: () => this.#typed(),
        edit: () => this.#edited(),
      },
    });
    this.row.fill({ ...unfinished, ...typedFor(unfinished?.id) }, titleFrom(this.name));
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
          this.#isWhole = name === 'checking';
          this.#enter(name);
          if (name === 'paused') this.row.live(`${this.#share} has arrived`);
        },
        progress: (bytes) => this.#moved(bytes),
        waiting: (error) => this.#waiting(error),
        reserved: (upload) => this.row.element.dispatchEvent(new CustomEvent('upload:reserved', { bubbles: true, detail: upload })),
        duplicate: (of) => this.#duplicate(of),
        delivered: (video, edit) => this.#delivered(video, edit),
        failed: (error) => this.#failed(error),
      },
    });
    lookInto(file, () => this.isSending).then((seen) => this.row.film(seen));
  }

  /** Whether leaving the page would lose something. */
  get isSending() {
    return MOVING.includes(this.state);
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

  /** What left the browser may be lost on the way: it is all there when the storage has said so. */
  get percent() {
    const percent = this.size ? (this.bytes / this.size) * 100 : 0;
    return this.#isWhole ? percent : Math.min(percent, 99);
  }

  get #share() {
    return `${Math.floor(this.percent)}% of ${size(this.size)}`;
  }

  // --- what the person does ----------------------------------------------------------------------------------------

  start(options) {
    if (this.check.problem) return this.#refuse({ code: this.check.problem });
    this.#again = () => this.start(options);
    this.bytes = 0;
    this.#isWhole = false;
    this.#speed = new Speed();
    this.row.progress(0);
    this.row.live(this.#share);
    this.#delivery.start(options);
  }

  cancel() {
    this.#giveUp();
    this.#again = () => this.start();
    this.#enter('cancelled', { canRetry: Boolean(this.file) });
    this.unfinished = null;
  }

  /** Taken off the list: what is left of it on the server is of no use to anybody then. */
  leave() {
    if (this.canGoOn || (this.state === 'duplicate' && this.uploadId)) this.#giveUp();
  }

  #giveUp() {
    if (this.#delivery) return this.#delivery.giveUp();
    forget(this.unfinished.id);
    call('DELETE', `/api/uploads/${this.unfinished.id}`).catch(() => {});
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
    if (this.#isWhole) return this.showUnfinished(), true; // nothing is missing
    this.check = checkFile(file, this.rules);
    if (this.check.problem) return this.#refuse({ code: this.check.problem }), true;
    if (!unfinished.multipart) this.#giveUp(); // sent whole there is nothing to go on from
    this.#takeFile(file);
    this.#again = () => this.start();
    if (unfinished.multipart) this.#delivery.resume(unfinished);
    else this.start();
    return true;
  }

  #wrongFile() {
    this.row.error(problem({ code: 'another_file' }, { file: { name: this.name, size: this.size } }), 'another_file');
  }

  /**
   * Called each half second: draws what has moved, and looks whether anything still does. Bytes move a hundred times a
   * second; drawing them as often takes more of a small machine than sending them.
   */
  tick() {
    this.#delivery?.tick();
    if (!this.#isDrawn) this.#draw();
    if (this.state === 'unfinished' && (this.#ticks += 1) % LOOK_TICKS === 0) this.#lookAgain();
    if (this.state === 'uploading') this.row.live(this.#share, ...(this.#delivery.isQueued ? ['Waits for the files before it'] : this.#speed.figures(this.size - this.bytes)));
    if (this.state === 'loggedout') this.row.live(this.#share);
  }

  // --- what the delivery tells --------------------------------------------------------------------------------------

  /** An upload of another visit: a video when everything arrived, else it waits for its file. */
  async showUnfinished() {
    const { unfinished } = this;
    this.bytes = (unfinished.parts ?? []).reduce((sum, part) => sum + part.size_bytes, 0);
    this.#isWhole = this.bytes >= this.size;
    this.row.progress(this.percent);
    this.#enter('unfinished', { isWhole: this.#isWhole });
    this.row.live(unfinished.multipart ? `${this.#share} has arrived` : '');
    const edit = this.#edit();
    // Nothing listed: sent whole, or just being put together.
    if (this.bytes > 0 && !this.#isWhole) return this.#tellTyped(edit);
    try {
      const video = await call('POST', `/api/uploads/${unfinished.id}/complete`, edit);
      forget(unfinished.id);
      if (this.state === 'unfinished') this.#delivered(video, edit);
    } catch (error) {
      // It is not all there: the file is needed. For a full storage no file helps; it is tried again now and then.
      if (error.code !== 'quota_exceeded') return this.#tellTyped(edit);
      this.#again = () => this.showUnfinished();
      this.#enter('unfinished', { isWhole: this.#isWhole, canRetry: true });
      this.row.error(this.#words(error), error.code);
    }
  }

  /** What an earlier visit could not tell the server any more. */
  async #tellTyped(edit) {
    const { id } = this.unfinished;
    if (!typedFor(id)) return;
    const told = await call('PATCH', `/api/uploads/${id}`, edit).catch(() => null);
    if (told && JSON.stringify(edit) === JSON.stringify(this.#edit())) remember(id);
  }

  /** An upload of another visit that became a video while nobody looked; perhaps without what had been typed. */
  async showArrived() {
    const { id, video: videoId } = this.unfinished;
    const typed = typedFor(id);
    this.#isWhole = true;
    this.#enter('checking');
    try {
      const video = typed ? await call('POST', `/api/uploads/${id}/complete`, this.#edit()) : await call('GET', `/api/videos/${videoId}`);
      if (!typed) this.row.fill(video, titleFrom(this.name));
      forget(id);
      this.#delivered(video, { title: video.title, description: video.description });
    } catch (error) {
      if (error.status === 404) forget(id); // it was deleted
      this.removed(this);
    }
  }

  /** What became of it meanwhile: the server may have found it whole, another browser may go on with it. */
  async #lookAgain() {
    const seen = await call('GET', `/api/uploads/${this.unfinished.id}`).catch(() => null);
    if (!seen || this.state !== 'unfinished') return;
    if (['cancelled', 'expired', 'failed'].includes(seen.state)) return this.removed(this);
    this.unfinished = seen;
    if (seen.state === 'completed') return this.showArrived();
    this.showUnfinished();
  }

  #moved(bytes) {
    if (bytes < this.bytes) this.#speed = new Speed(); // what was under way is sent again
    this.bytes = Math.min(bytes, this.size);
    this.#isDrawn = false;
  }

  #draw() {
    this.#isDrawn = true;
    this.#speed.add(this.bytes);
    this.row.progress(this.percent);
    this.changed();
  }

  #waiting(error) {
    if (error && isLoggedOut(error)) {
      if (this.state !== 'loggedout') this.#enter('loggedout');
      this.row.live(this.#share);
    } else if (error) {
      this.#enter('offline');
      if (error.code !== 'network') this.row.say('Waiting for the server');
      this.row.live(this.#share, error.code === 'network' ? 'Goes on by itself when the connection is back' : 'Goes on by itself');
    } else if (HELD.includes(this.state)) {
      this.#speed = new Speed();
      this.#enter('uploading');
    }
  }

  #duplicate({ video_id: id, title }) {
    this.#again = () => (this.#delivery.upload ? this.#delivery.goOn() : this.start({ anyway: true }));
    this.#enter('duplicate', { canRetry: true, retryWord: 'Upload anyway' });
    this.row.link(`/videos/${id}`);
    this.row.note(`This file is in your library already, as “${title}”. It was not sent again.`);
    this.row.element.dispatchEvent(new CustomEvent('upload:duplicate', { bubbles: true, detail: { video_id: id, upload_id: this.uploadId } }));
  }

  #delivered(video, edit) {
    this.uploadedAs = this.uploadId;
    this.#videoId = video.id;
    this.#texts = new Texts(`/api/videos/${video.id}`, this.uploadedAs, edit, {
      waiting: (error) => this.row.saved(`Not saved yet. ${this.#words(error).what}`),
      saved: () => (this.row.saved('Saved'), this.#announce('edited')),
      failed: (error) => this.row.saved(`Not saved. ${this.#words(error).what}`),
    });
    this.bytes = this.size;
    this.#isWhole = true;
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
    } else if (error.code === 'quota_exceeded') this.#again = () => this.#delivery.confirm(); // all of it has arrived
    else this.#again = () => this.#delivery.goOn();
    this.#fail(error);
  }

  // --- processing --------------------------------------------------------------------------------------------------

  #process(video) {
    const processing = new Processing(video.id, {
      began: () => {
        this.#enter('processing');
        this.row.work({ percent: 0 });
      },
      update: (now) => this.row.work(now),
      loggedOut: () => this.row.askToLogIn('You were logged out. Log in to see how far it is.'),
      checking: () => this.#enter('checking'),
      ready: (now) => this.#ready(now),
      failed: (error, again) => {
        if (error.code !== 'network') this.#announce('failed');
        this.#again = again;
        if (error.code !== 'cancelled') return this.#fail(error, again);
        this.#enter('cancelled', { canRetry: true });
      },
    });
    processing.follow(video);
  }

  #ready(video) {
    this.#enter('ready');
    this.#announce('completed');
    this.row.film(video);
    this.row.note(cutOff(video));
  }

  // --- the row -----------------------------------------------------------------------------------------------------

  #enter(state, options) {
    if (!this.#isDrawn) this.#draw();
    this.state = state;
    this.row.state(state, { canPause: Boolean(this.#delivery?.upload), ...options });
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
  }

  // --- title, description, project ---------------------------------------------------------------------------------

  #edit() {
    const { title, description, project } = this.row.typed();
    return { title: title || titleFrom(this.name), description, ...(project && !this.#videoId ? { project_id: project } : {}) };
  }

  #typed() {
    if (this.#delivery) this.#delivery.typed();
    else if (this.unfinished) remember(this.unfinished.id, this.#edit());
  }

  /** Before the video exists, what is typed goes with the confirmation. */
  #edited() {
    this.#texts?.send(this.#edit());
  }

  #announce(status) {
    document.body.dispatchEvent(new CustomEvent('video:changed', { detail: { video_id: this.#videoId, status } }));
  }
}
