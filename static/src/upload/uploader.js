// The list of uploads of one page: takes files from the picker, a drop anywhere or the clipboard, and sums up.
import { toast } from '../ui/toasts.js';
import { call } from './api.js';
import { looksOf } from './checks.js';
import { getReady } from './delivery.js';
import { Turns } from './turns.js';
import { answerTabs, forget, inOtherTabs, isOurs, ours } from './unfinished.js';
import { Upload } from './upload.js';

const FILES_AT_ONCE = 3;
const TICK_MS = 500;
// A file that is chosen before it is known what another visit left waits so long for that.
const FIND_MS = 2_000;

/**
 * Bring an element made by `videos/_uploader.html` to life.
 * @param {HTMLElement} root
 * @returns {{add: (files: Iterable<File>) => void}}
 */
export function mountUploader(root) {
  return new Uploader(root);
}

class Uploader {
  #uploads = [];
  #turns = new Turns(FILES_AT_ONCE);
  #batch = new Set();
  #finding = null;
  #pageTitle = document.title;

  constructor(root) {
    this.root = root;
    this.rows = root.querySelector('[data-rows]');
    this.template = root.querySelector('template[data-row-template]');
    const { types, maxBytes, formats, multipartBytes, fingerprinter } = root.dataset;
    this.rules = { types: JSON.parse(types), maxBytes: Number(maxBytes), formats, multipartBytes: Number(multipartBytes), fingerprinter };
    this.#listen();
    answerTabs(() => this.#uploads.filter((upload) => upload.isSending).map((upload) => upload.uploadId));
    this.#findUnfinished();
  }

  /** Take files: those that an unfinished upload waits for go on, the others are checked and start. */
  async add(list) {
    const files = [...list]; // a picker that is emptied empties its list
    await Promise.race([this.#finding, new Promise((resolve) => setTimeout(resolve, FIND_MS))]);
    const known = new Set(this.#uploads.filter((upload) => upload.file && !upload.isEnded).map((upload) => looksOf(upload.file)));
    for (const file of files) {
      if (known.has(looksOf(file))) {
        toast({ message: `“${file.name}” is in the list already.` });
        continue;
      }
      known.add(looksOf(file));
      if (await this.#goOnWith(file)) continue;
      this.#show(new Upload({ ...this.#shared, file })).start();
    }
    this.#sumUp();
  }

  async #goOnWith(file) {
    for (const upload of this.#uploads.filter((one) => one.state === 'unfinished')) {
      if (await upload.choose(file, { quietly: true })) return true;
    }
    return false;
  }

  get #shared() {
    return {
      rules: this.rules, template: this.template, turns: this.#turns,
      changed: () => this.#sumUp(),
      removed: (gone) => this.#remove(gone),
    };
  }

  #show(upload) {
    this.#uploads.push(upload);
    this.rows.append(upload.row.element);
    return upload;
  }

  // --- what another visit left -------------------------------------------------------------------------------------

  #findUnfinished() {
    this.#finding ??= this.#find().finally(() => (this.#finding = null));
  }

  async #find() {
    const [open, elsewhere] = await Promise.all([call('GET', '/api/uploads?state=open').catch(() => null), inOtherTabs()]);
    this.#sayElsewhere(elsewhere.count);
    if (!open) return; // looked for again when somebody comes back to this tab
    const listed = open.uploads.filter(({ id, multipart }) => multipart || isOurs(id)).map(({ id }) => id);
    for (const id of new Set([...listed, ...ours()])) {
      if (elsewhere.ids.has(id) || this.#uploads.some((upload) => id === upload.uploadId || id === upload.uploadedAs)) continue;
      await this.#showLeft(id);
    }
    this.#sumUp();
  }

  /** An upload that another visit began: it waits for its file, or arrived while nobody looked. */
  async #showLeft(id) {
    let unfinished;
    try {
      unfinished = await call('GET', `/api/uploads/${id}`);
    } catch (error) {
      if (error.status === 404) forget(id);
      return;
    }
    if (['cancelled', 'expired', 'failed'].includes(unfinished.state)) return forget(id);
    const upload = this.#show(new Upload({ ...this.#shared, unfinished }));
    if (unfinished.state === 'completed') upload.showArrived();
    else upload.showUnfinished();
  }

  #sayElsewhere(count) {
    const place = this.root.querySelector('[data-elsewhere]');
    if (!place) return;
    place.hidden = !count;
    place.textContent = count === 1 ? 'An upload is on its way in another tab.' : `${count} uploads are on their way in another tab.`;
  }

  #listen() {
    const picker = this.root.querySelector('input[type="file"]');
    if (picker) getReady(this.rules); // the page for uploads; others get ready when a file is dragged over them
    picker?.addEventListener('change', () => {
      this.add(picker.files);
      picker.value = ''; // so that choosing the same file again is a change
    });
    this.root.querySelector('[data-clear]')?.addEventListener('click', () => {
      for (const upload of this.#uploads.filter((one) => one.isEnded && !one.canGoOn)) {
        upload.leave();
        this.#remove(upload);
      }
    });
    const tray = this.root.querySelector('[data-fold-tray]');
    tray?.addEventListener('click', () => {
      const folded = this.root.querySelector('[data-list]').toggleAttribute('data-folded');
      tray.setAttribute('aria-expanded', String(!folded));
    });
    if (tray) {
      const list = this.root.querySelector('[data-list]');
      new ResizeObserver(() => document.documentElement.style.setProperty('--tray-height', `${list.offsetHeight}px`)).observe(list);
    }
    this.#listenForDrops();
    document.addEventListener('paste', (event) => {
      if (event.clipboardData?.files.length) this.add(event.clipboardData.files);
    });
    // A tab that was closed meanwhile may have left something.
    document.addEventListener('visibilitychange', () => document.hidden || this.#findUnfinished());
    window.addEventListener('beforeunload', (event) => {
      if (this.#uploads.some((upload) => upload.isSending)) event.preventDefault();
    });
    // A page that looks for news by itself would go to the login; the files that are on their way would be lost with it.
    document.addEventListener('htmx:beforeOnLoad', (event) => {
      const toLogin = event.detail.xhr.getResponseHeader('HX-Redirect')?.startsWith('/login');
      if (toLogin && this.#uploads.some((upload) => upload.isSending)) event.preventDefault();
    });
    setInterval(() => this.#uploads.forEach((upload) => upload.tick()), TICK_MS);
  }

  #listenForDrops() {
    const veil = this.root.querySelector('[data-veil]');
    let depth = 0; // enter and leave come for every element the pointer crosses
    const hasFiles = (event) => event.dataTransfer?.types.includes('Files');
    const over = (on) => veil.toggleAttribute('data-over', on);
    window.addEventListener('dragenter', (event) => {
      if (!hasFiles(event)) return;
      depth += 1;
      if (depth === 1) getReady(this.rules);
      over(true);
    });
    window.addEventListener('dragleave', (event) => {
      if (hasFiles(event) && --depth <= 0) over(false);
    });
    window.addEventListener('dragover', (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = 'copy';
    });
    window.addEventListener('drop', (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      depth = 0;
      over(false);
      const { files, folders } = split(event.dataTransfer);
      if (folders) toast({ kind: 'error', message: 'Folders cannot be uploaded. Drop the files that are in them.' });
      this.add(files);
    });
  }

  #remove(upload) {
    const next = upload.row.element.nextElementSibling ?? upload.row.element.previousElementSibling;
    const hadFocus = upload.row.element.contains(document.activeElement);
    this.#uploads = this.#uploads.filter((one) => one !== upload);
    upload.row.element.remove();
    if (hadFocus) (next?.querySelector('button:not([hidden]), a:not([hidden])') ?? this.root.querySelector('input[type="file"]'))?.focus();
    this.#sumUp();
  }

  /** The head of the list and the browser's title. */
  #sumUp() {
    const all = this.#uploads;
    const left = all.filter((upload) => upload.state === 'unfinished').length;
    const line = document.querySelector('[data-unfinished]');
    if (line) {
      line.hidden = left === 0;
      line.querySelector('span').textContent = `${left} ${left === 1 ? 'upload' : 'uploads'} not finished`;
    }
    // Where a line says so, what waits for its file needs no tray.
    this.root.querySelector('[data-list]').hidden = all.length === (line ? left : 0);
    this.root.querySelector('[data-drop-zone]')?.classList.toggle('has-files', all.length > 0);
    const clear = this.root.querySelector('[data-clear]');
    if (clear) clear.hidden = !all.some((upload) => upload.isEnded && !upload.canGoOn);

    const count = (...states) => all.filter((upload) => states.includes(upload.state)).length;
    const parts = [
      [count('preparing', 'uploading', 'checking', 'offline', 'loggedout'), 'uploading'],
      [count('paused'), 'paused'],
      [count('unfinished'), 'not finished'],
      [count('processing'), 'processing'],
      [count('ready'), 'ready'],
      [count('failed'), 'failed'],
      [count('duplicate'), 'here already'],
      [count('refused'), 'not uploaded'],
      [count('cancelled'), 'cancelled'],
    ];
    const summary = parts.filter(([n]) => n).map(([n, word]) => `${n} ${word}`).join(', ');
    const place = this.root.querySelector('[data-summary]');
    if (place && place.textContent !== summary) place.textContent = summary;

    // What has arrived counts until all has: a percentage that fell with every finished file would say nothing.
    const sending = all.filter((upload) => upload.isSending);
    for (const upload of sending) this.#batch.add(upload);
    for (const upload of this.#batch) {
      if (upload.isStopped || !all.includes(upload)) this.#batch.delete(upload);
    }
    if (!sending.length) this.#batch.clear();
    const total = [...this.#batch].reduce((sum, upload) => sum + upload.size, 0);
    const sent = [...this.#batch].reduce((sum, upload) => sum + upload.bytes, 0);
    document.title = total ? `${Math.floor((sent / total) * 100)}% · ${this.#pageTitle}` : this.#pageTitle;
  }
}

/** Files and whether there were folders, which browsers hand over as files that cannot be read. */
function split(transfer) {
  const files = [];
  let folders = false;
  for (const item of transfer.items) {
    if (item.kind !== 'file') continue;
    if (item.webkitGetAsEntry?.()?.isDirectory) folders = true;
    else files.push(item.getAsFile());
  }
  return { files: files.filter(Boolean), folders };
}
