// One file's row on the page: it shows what it is told, and says which button was pressed. It decides nothing.
import { setIcon } from '../ui/dom.js';
import { STATES, clock, size } from './words.js';

export class Row {
  /** @param {HTMLTemplateElement} template */
  constructor(template, { file, format, title, on }) {
    this.element = template.content.firstElementChild.cloneNode(true);
    this.#at('name').textContent = file.name;
    this.#at('name').title = file.name;
    this.#at('size').textContent = size(file.size);
    this.#at('format').textContent = format || 'Unknown format';
    this.title = this.#at('title');
    this.description = this.#at('description');
    this.title.value = title;
    for (const [input, name] of [[this.title, 'Title'], [this.description, 'Description']]) {
      input.setAttribute('aria-label', `${name} of ${file.name}`);
      input.addEventListener('change', on.edit);
    }
    this.title.addEventListener('keydown', (event) => event.key === 'Enter' && this.title.blur());
    for (const action of ['cancel', 'retry', 'remove']) {
      const button = this.#at(action);
      button.setAttribute('aria-label', `${button.textContent.trim() || 'Remove from the list'}: ${file.name}`);
      button.addEventListener('click', on[action]);
    }
    this.#at('bar').setAttribute('aria-label', `Progress of ${file.name}`);
  }

  #at(name) {
    return this.element.querySelector(`[data-${name}]`);
  }

  /** Show a state, and with it the buttons that make sense in it. */
  state(name, { word, canRetry = false } = {}) {
    const look = STATES[name];
    this.element.dataset.state = name;
    const status = this.#at('status');
    status.dataset.status = { ready: 'completed', refused: 'failed', failed: 'failed', cancelled: 'cancelled', processing: 'processing' }[name] ?? 'busy';
    setIcon(status.querySelector('svg'), look.icon);
    this.say(word ?? look.word);
    const ended = ['ready', 'failed', 'refused', 'cancelled'].includes(name);
    const focused = this.element.contains(document.activeElement) ? document.activeElement : null;
    this.#at('cancel').hidden = !['preparing', 'uploading'].includes(name);
    this.#at('retry').hidden = !canRetry;
    this.#at('remove').hidden = !ended;
    this.#at('fields').hidden = ['refused', 'cancelled'].includes(name);
    if (name !== 'failed') this.#at('error').hidden = true;
    if (['checking', 'ready', 'failed', 'cancelled', 'refused'].includes(name)) this.live();
    // The button that was pressed may be gone: who works by keyboard stays in this row.
    if (focused?.closest('[hidden]')) this.element.querySelector('button:not([hidden]), a[href]:not([hidden]), input')?.focus();
  }

  /** The status in words ("Reading metadata"). */
  say(word) {
    const place = this.#at('status').querySelector('span');
    if (place.textContent !== word) place.textContent = word;
  }

  /** @param {number} percent 0–100 */
  progress(percent) {
    this.#at('bar').value = Math.floor(percent);
  }

  /** The line of figures: percent, speed, time left. Empty ones leave no dot behind. */
  live(...figures) {
    this.#at('live').replaceChildren(...figures.filter(Boolean).map((words) => Object.assign(document.createElement('span'), { textContent: words })));
  }

  /** @param {{what: string, why: string}} words */
  error({ what, why }, code) {
    this.#at('error').hidden = false;
    this.#at('what').textContent = what;
    this.#at('why').textContent = why;
    this.#at('code').textContent = code;
  }

  picture(url) {
    const image = document.createElement('img');
    image.src = url;
    image.alt = '';
    const before = this.#at('poster').querySelector('img');
    image.addEventListener('load', () => before?.remove(), { once: true });
    image.addEventListener('error', () => image.remove(), { once: true });
    this.#at('poster').prepend(image);
  }

  facts({ duration, width, height }) {
    if (Number.isFinite(duration) && duration > 0) {
      this.#at('time').textContent = clock(duration);
      this.#at('time').hidden = false;
    }
    if (width && height) {
      this.#at('shape').textContent = `${width} × ${height}`;
      this.#at('shape').hidden = false;
    }
  }

  saved(words) {
    this.#at('saved').textContent = words;
  }

  link(href) {
    this.#at('open').href = href;
    this.#at('open').hidden = false;
  }
}
