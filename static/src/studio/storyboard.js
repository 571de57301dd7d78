// The pictures of a storyboard: chosen, dropped or pasted, sent straight to the storage, put in order, taken away.
import { toast } from '../ui/toasts.js';
import { call } from '../upload/api.js';
import { size } from '../upload/words.js';

const TYPES = ['image/jpeg', 'image/png', 'image/webp'];

export class Storyboard {
  #root;
  #frames;
  #template;
  #most;
  #maxBytes;
  #sending = new Set();

  /** @param {HTMLElement} root `[data-storyboard]` in the composer */
  constructor(root) {
    this.#root = root;
    this.#frames = root.querySelector('[data-frames]');
    this.#template = root.querySelector('template');
    this.#most = Number(root.dataset.most);
    this.#maxBytes = Number(root.dataset.maxBytes);
    root.hidden = false;
    root.querySelector('[data-pick]').addEventListener('change', (event) => {
      this.add(event.target.files);
      event.target.value = '';
    });
    root.addEventListener('click', (event) => this.#pressed(event));
    this.#count(); // of one that is made again
    this.#listenForDrops();
    document.addEventListener('paste', (event) => {
      const files = [...(event.clipboardData?.files ?? [])].filter((file) => TYPES.includes(file.type));
      if (files.length) this.add(files);
    });
  }

  /** Resolves when nothing is on its way any more. */
  settled() {
    return Promise.allSettled([...this.#sending]);
  }

  get isSending() {
    return this.#sending.size > 0;
  }

  add(list) {
    const files = [...list];
    const kind = document.querySelector('[name="kind"][value="video"]');
    if (files.length && kind && !kind.checked) kind.click(); // only videos have one
    for (const file of files) {
      if (!TYPES.includes(file.type)) {
        toast({ kind: 'error', message: `“${file.name}” is not a picture we take. Choose JPEG, PNG or WebP.` });
      } else if (file.size > this.#maxBytes) {
        toast({ kind: 'error', message: `“${file.name}” has ${size(file.size)}; pictures of at most ${size(this.#maxBytes)} are taken here.` });
      } else if (this.#frames.children.length >= this.#most) {
        toast({ kind: 'error', message: `A storyboard has at most ${this.#most} pictures.` });
        return;
      } else {
        const sending = this.#take(file).finally(() => this.#sending.delete(sending));
        this.#sending.add(sending);
      }
    }
  }

  async #take(file) {
    const frame = this.#template.content.firstElementChild.cloneNode(true);
    const picture = frame.querySelector('img');
    const url = URL.createObjectURL(file);
    picture.src = url;
    picture.alt = file.name;
    this.#frames.append(frame);
    this.#count();
    try {
      await picture.decode().catch(() => {
        throw new Error('It cannot be read as a picture.');
      });
      const project = this.#root.closest('form').elements.project_id?.value;
      const place = await call('POST', '/api/generations/images', { size: file.size, content_type: file.type, project_id: project });
      await put(file, place, (percent) => (frame.querySelector('.bar').value = percent));
      const input = frame.querySelector('input');
      input.value = place.image_id;
      input.disabled = false;
      frame.dataset.state = 'ready';
    } catch (error) {
      frame.remove();
      URL.revokeObjectURL(url);
      toast({ kind: 'error', message: `“${file.name}” was not taken. ${error.message || 'Check your connection and try again.'}` });
    }
    this.#count();
  }

  #pressed(event) {
    const frame = event.target.closest('.storyboard-frame');
    if (!frame) return;
    if (event.target.closest('[data-remove]')) {
      const next = frame.nextElementSibling ?? frame.previousElementSibling;
      frame.remove();
      (next?.querySelector('[data-remove]') ?? this.#root.querySelector('[data-pick]')).focus();
      this.#count();
    } else if (event.target.closest('[data-earlier]') && frame.previousElementSibling) {
      frame.previousElementSibling.before(frame);
      (frame.previousElementSibling ? frame.querySelector('[data-earlier]') : frame.querySelector('[data-remove]')).focus();
      this.#say(`Now picture ${[...this.#frames.children].indexOf(frame) + 1}`);
    }
  }

  #count() {
    const count = this.#frames.children.length;
    this.#root.querySelector('[data-storyboard-hint]').hidden = count > 0;
    this.#say(count ? `${count} ${count === 1 ? 'picture' : 'pictures'}, in this order` : '');
  }

  #say(words) {
    this.#root.querySelector('[data-storyboard-said]').textContent = words;
  }

  #listenForDrops() {
    const veil = document.querySelector('[data-veil]');
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
      this.add(event.dataTransfer.files);
    });
  }
}

/** Send a file to where it was told to go. fetch() tells nothing of how far it is. */
function put(file, { upload_url: url, method = 'PUT', headers = {} }, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.addEventListener('progress', (event) => event.lengthComputable && progress((100 * event.loaded) / event.total));
    request.addEventListener('load', () => (request.status < 300 ? resolve() : reject(new Error('The storage refused it.'))));
    request.addEventListener('error', () => reject(new Error('')));
    request.send(file);
  });
}
