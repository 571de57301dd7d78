// The list of uploads of one page: takes files from the picker, a drop anywhere or the clipboard, and sums up.
import { toast } from '../ui/toasts.js';
import { fingerprint } from './checks.js';
import { Transfers } from './transfers.js';
import { Upload } from './upload.js';

const TICK_MS = 500;

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
  #transfers = new Transfers();
  #batch = new Set();
  #pageTitle = document.title;

  constructor(root) {
    this.root = root;
    this.rows = root.querySelector('[data-rows]');
    this.template = root.querySelector('template[data-row-template]');
    this.rules = { types: JSON.parse(root.dataset.types), maxBytes: Number(root.dataset.maxBytes), formats: root.dataset.formats };
    this.#listen();
  }

  /** Take files, check them, and start. */
  add(files) {
    const known = new Set(this.#uploads.filter((upload) => !upload.isEnded).map((upload) => fingerprint(upload.file)));
    for (const file of files) {
      if (known.has(fingerprint(file))) {
        toast({ message: `“${file.name}” is in the list already.` });
        continue;
      }
      known.add(fingerprint(file));
      const upload = new Upload({
        file, rules: this.rules, template: this.template, transfers: this.#transfers,
        changed: () => this.#sumUp(),
        removed: (gone) => this.#remove(gone),
      });
      this.#uploads.push(upload);
      this.rows.append(upload.row.element);
      upload.start();
    }
    this.#sumUp();
  }

  #listen() {
    const picker = this.root.querySelector('input[type="file"]');
    picker?.addEventListener('change', () => {
      this.add(picker.files);
      picker.value = ''; // so that choosing the same file again is a change
    });
    this.root.querySelector('[data-clear]')?.addEventListener('click', () => {
      for (const upload of this.#uploads.filter((one) => one.isEnded)) this.#remove(upload);
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
    window.addEventListener('online', () => this.#uploads.forEach((upload) => upload.online()));
    window.addEventListener('beforeunload', (event) => {
      if (this.#uploads.some((upload) => upload.isSending)) event.preventDefault();
    });
    document.addEventListener('upload:logged-out', () => {
      const others = this.#uploads.some((upload) => upload.isSending || upload.state === 'processing');
      if (!others) location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
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
    this.root.querySelector('[data-list]').hidden = all.length === 0;
    this.root.querySelector('[data-drop-zone]')?.classList.toggle('has-files', all.length > 0);
    const clear = this.root.querySelector('[data-clear]');
    if (clear) clear.hidden = !all.some((upload) => upload.isEnded);

    const count = (...states) => all.filter((upload) => states.includes(upload.state)).length;
    const parts = [
      [count('preparing', 'uploading', 'checking'), 'uploading'],
      [count('processing'), 'processing'],
      [count('ready'), 'ready'],
      [count('failed'), 'failed'],
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
    const total = [...this.#batch].reduce((sum, upload) => sum + upload.file.size, 0);
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
