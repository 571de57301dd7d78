// Cards that show their film under the pointer: from left to right, from beginning to end.
import { element } from './dom.js';
import { previewOf } from './preview.js';

// A pointer that only crosses a card on its way fetches nothing.
const REST_MS = 80;

let current = null;

export function startScrubbing() {
  document.addEventListener('pointermove', (event) => {
    if (event.pointerType === 'touch') return;
    // The card's link lies over the poster, so the pointer is never in the poster itself.
    const poster = event.target.closest?.('tr')?.querySelector('[data-scrub]') ?? null;
    const box = poster?.getBoundingClientRect();
    const over = box && event.clientX >= box.left && event.clientX < box.right && event.clientY >= box.top && event.clientY < box.bottom;
    if (current && (!over || current.poster !== poster)) {
      current.end();
      current = null;
    }
    if (over) {
      current ??= new Scrub(poster);
      current.show((event.clientX - box.left) / box.width);
    }
  });
  document.documentElement.addEventListener('pointerleave', () => {
    current?.end();
    current = null;
  });
}

class Scrub {
  #canvas = element('canvas', { class: 'scrub', 'aria-hidden': 'true' });
  #line = element('span', { class: 'scrub-line', 'aria-hidden': 'true' });
  #preview = null;
  #part = 0;

  constructor(poster) {
    this.poster = poster;
    this.rest = setTimeout(() => this.#load(), REST_MS);
  }

  async #load() {
    try {
      this.#preview = await previewOf(this.poster.dataset.scrub);
    } catch {
      return; // the poster stays
    }
    if (this.rest === null) return;
    this.poster.append(this.#canvas, this.#line);
    this.show(this.#part);
  }

  /** @param {number} part 0–1 */
  async show(part) {
    this.#part = part;
    this.#line.style.left = `${part * 100}%`;
    if (await this.#preview?.draw(this.#canvas, part * this.#preview.duration)) this.#canvas.toggleAttribute('data-drawn', true);
  }

  end() {
    clearTimeout(this.rest);
    this.rest = null;
    this.#canvas.remove();
    this.#line.remove();
  }
}
