// One file's row on the page: it shows what it is told, and says which button was pressed. It decides nothing.
import { setIcon } from '../ui/dom.js';
import { STATES, clock, size } from './words.js';

const ENDED = ['ready', 'failed', 'refused', 'cancelled', 'duplicate'];
const LOOKS = { ready: 'completed', refused: 'failed', failed: 'failed', cancelled: 'cancelled', processing: 'processing' };

const NOTES = {
  unfinished: 'It was interrupted. Choose the same file to go on where it stopped.',
  loggedout: 'You were logged out. Log in to go on. What you typed is kept.',
};

export class Row {
  /** @param {HTMLTemplateElement} template */
  constructor(template, { name, size: bytes, format, on }) {
    this.element = template.content.firstElementChild.cloneNode(true);
    this.fileName = name;
    this.#at('name').textContent = name;
    this.#at('name').title = name;
    this.#at('size').textContent = size(bytes);
    this.#at('format').textContent = format || 'Unknown format';
    for (const [field, label] of [['title', 'Title'], ['description', 'Description'], ['project', 'Project']]) {
      this.#at(field)?.setAttribute('aria-label', `${label} of ${name}`);
      this.#at(field)?.addEventListener('input', on.typed);
      this.#at(field)?.addEventListener('change', on.edit);
    }
    this.#at('title').addEventListener('keydown', (event) => event.key === 'Enter' && event.target.blur());
    for (const action of ['cancel', 'pause', 'retry', 'remove']) {
      this.#label(action, this.#at(action).textContent.trim());
      this.#at(action).addEventListener('click', on[action]);
    }
    const picker = this.#at('choose').querySelector('input');
    picker.setAttribute('aria-label', `Choose the file: ${name}`);
    picker.addEventListener('change', () => {
      const [file] = picker.files;
      picker.value = '';
      if (file) on.choose(file);
    });
    this.#at('bar').setAttribute('aria-label', `Progress of ${name}`);
  }

  #at(name) {
    return this.element.querySelector(`[data-${name}]`);
  }

  /** What a button says, and to those who hear only the button, of which file. */
  #label(action, word) {
    const button = this.#at(action);
    if (word) button.textContent = word;
    button.setAttribute('aria-label', `${word || 'Remove from the list'}: ${this.fileName}`);
  }

  /** What is typed into the form before anybody types. */
  fill({ title, description, project_id: project }, otherwise) {
    this.#at('title').value = title || otherwise;
    this.#at('description').value = description ?? '';
    if (project && this.#at('project')) this.#at('project').value = project;
  }

  typed() {
    const [title, description, project] = ['title', 'description', 'project'].map((field) => this.#at(field)?.value.trim());
    return { title, description, project };
  }

  /** Show a state, and with it the buttons that make sense in it. */
  state(name, { canRetry = false, retryWord = 'Try again', canPause = false, isWhole = false } = {}) {
    const look = STATES[name];
    this.element.dataset.state = name;
    const status = this.#at('status');
    status.dataset.status = LOOKS[name] ?? 'busy';
    setIcon(status.querySelector('svg'), look.icon);
    this.say(look.word);
    const focused = this.element.contains(document.activeElement) ? document.activeElement : null;
    this.#at('cancel').hidden = !['preparing', 'uploading', 'offline', 'loggedout', 'paused', 'unfinished'].includes(name);
    this.#at('pause').hidden = !(canPause && ['uploading', 'offline', 'paused'].includes(name));
    this.#at('login').hidden = name !== 'loggedout';
    this.#label('pause', name === 'paused' ? 'Go on' : 'Pause');
    this.#at('choose').hidden = name !== 'unfinished' || isWhole;
    this.#at('retry').hidden = !canRetry;
    this.#label('retry', retryWord);
    this.#at('remove').hidden = !ENDED.includes(name);
    this.#at('fields').hidden = ['refused', 'cancelled', 'duplicate'].includes(name);
    // A video is moved on its own page.
    if (this.#at('project')) this.#at('project').disabled = name === 'checking' || !this.#at('open').hidden;
    this.#at('error').hidden = true;
    this.note(isWhole ? 'All of it has arrived.' : (NOTES[name] ?? ''));
    if (['checking', 'ready', 'failed', 'cancelled', 'refused', 'duplicate'].includes(name)) this.live();
    // The button that was pressed may be gone: who works by keyboard stays in this row.
    if (focused?.closest('[hidden]')) this.element.querySelector('button:not([hidden]), a[href]:not([hidden]), input')?.focus();
  }

  /** The status in words ("Reading metadata"). */
  say(word) {
    const place = this.#at('status').querySelector('span');
    if (place.textContent !== word) place.textContent = word;
  }

  /** How far the processing is. */
  work({ words, percent, running }) {
    this.askToLogIn('');
    if (words) this.say(words);
    this.progress(percent);
    this.live(running ? `${percent}%` : '');
  }

  /** Offer the login in a state that goes on without it. */
  askToLogIn(words) {
    this.note(words);
    this.#at('login').hidden = !words;
  }

  /** @param {number} percent 0–100 */
  progress(percent) {
    this.#at('bar').value = Math.floor(percent);
  }

  /** The line of figures: percent, speed, time left. Empty ones leave no dot behind. */
  live(...figures) {
    this.#at('live').replaceChildren(...figures.filter(Boolean).map((words) => Object.assign(document.createElement('span'), { textContent: words })));
  }

  /** A sentence about the state that is no error; '' for none. */
  note(words) {
    this.#at('note').textContent = words;
    this.#at('note').hidden = !words;
  }

  /** @param {{what: string, why: string}} words */
  error({ what, why }, code) {
    this.#at('error').hidden = false;
    this.#at('what').textContent = what;
    this.#at('why').textContent = why;
    this.#at('code').textContent = code;
  }

  /** What was found out about its film: by the browser, or by the server. */
  film(seen) {
    if (seen?.poster_url) this.#picture(seen.poster_url);
    if (seen) this.#facts(seen);
  }

  #picture(url) {
    const image = document.createElement('img');
    image.src = url;
    image.alt = '';
    const before = this.#at('poster').querySelector('img');
    image.addEventListener('load', () => before?.remove(), { once: true });
    image.addEventListener('error', () => image.remove(), { once: true });
    this.#at('poster').prepend(image);
  }

  #facts({ duration, width, height }) {
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
