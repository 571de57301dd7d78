// Phases as a person sees them: go to the frame, say what it is. A video without phases gets them once all are said.
import { call } from '../upload/api.js';
import { toast } from '../ui/toasts.js';

const NEEDED = ['load', 'strike', 'follow_through'];

export class PhaseEditor {
  #said = {};

  /** @param {HTMLElement} root @param {string} id of the analysis @param {import('./stage.js').Stage} stage */
  constructor(root, id, stage) {
    Object.assign(this, { root, id, stage });
    root.addEventListener('click', ({ target }) => {
      const button = target.closest('[data-moment]');
      if (button) this.#say(button);
    });
    // Back from saving, at the frame where it was done.
    const [, time] = location.hash.match(/^#phases=([\d.]+)$/) ?? [];
    if (time === undefined) return;
    root.closest('details').open = true;
    stage.seek(Number(time));
  }

  async #say(button) {
    const time = Number(this.stage.time.toFixed(3));
    this.#said[button.dataset.moment] = time;
    const known = this.stage.recording.summary.moments;
    const missing = known ? [] : NEEDED.filter((name) => !(name in this.#said));
    if (missing.length) {
      this.#tell(button, time, missing);
      return;
    }
    this.root.inert = true;
    try {
      await call('PATCH', `/api/coaches/plus/analysis-jobs/${this.id}/phases`, this.#said);
      // By its name: what was opened when it ended need not be what the bare address shows.
      history.replaceState(null, '', `?analysis=${this.id}#phases=${time}`);
      location.reload();
    } catch (error) {
      this.root.inert = false;
      if (known) this.#said = {};
      toast({ kind: 'error', message: error.message || 'This could not be saved. Try again.' });
    }
  }

  #tell(button, time, missing) {
    const place = button.querySelector('span') ?? button.appendChild(document.createElement('span'));
    place.textContent = `${time.toFixed(2)} s`;
    const words = missing.map((name) => this.root.querySelector(`[data-moment="${name}"]`).dataset.word);
    this.root.querySelector('[data-still]').textContent = `Still to be said: ${words.join(', ')}.`;
  }
}
