// The library: grid or table, search as one types, the editor's dialog, deleting.
import htmx from 'htmx.org';

import { confirm } from './ui/confirm.js';
import { memory } from './ui/dom.js';
import { startScrubbing } from './ui/scrub.js';
import { startSearch } from './ui/search.js';

const root = document.documentElement;

document.addEventListener('click', (event) => {
  const choice = event.target.closest('[data-view-choice]');
  if (choice) {
    memory.set('library-view', choice.dataset.viewChoice);
    root.dataset.view = choice.dataset.viewChoice;
    showView();
  }
  if (event.target.closest('[data-close-editor]')) document.getElementById('editor').close();
});
document.addEventListener('htmx:load', showView);
showView();
startScrubbing();
startSearch('#library');

function showView() {
  for (const button of document.querySelectorAll('[data-view-choice]')) {
    button.setAttribute('aria-pressed', String(button.dataset.viewChoice === (root.dataset.view ?? 'grid')));
  }
}

// --- the editor -------------------------------------------------------------------------------------------------------

document.addEventListener('htmx:afterSwap', (event) => {
  if (event.target.id === 'editor' && !event.target.open) event.target.showModal();
  event.target.querySelector?.('#editor [aria-invalid="true"]')?.focus();
});
document.body.addEventListener('video:saved', () => document.getElementById('editor').close());

// --- deleting ---------------------------------------------------------------------------------------------------------

// Not an attribute of htmx: the card may be replaced while the question is open, and its request would be lost with it.
document.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-delete]');
  if (!button) return;
  const { delete: url, ...question } = button.dataset;
  const opener = button.closest('.menu')?.id;
  const openers = [...document.querySelectorAll('.videos tbody [popovertarget]')].map((b) => b.getAttribute('popovertarget'));
  const at = openers.indexOf(opener);
  neighbour = openers[at + 1] ?? openers[at - 1] ?? null;
  if (await confirm({ confirm: question.question, confirmText: question.text })) htmx.ajax('POST', url, { swap: 'none' });
  else neighbour = null;
});

// --- a fresh list keeps the focus where it was -------------------------------------------------------------------------

let held;
let neighbour = null; // who gets the focus when the focused card is gone

document.addEventListener('htmx:beforeSwap', () => {
  held = document.activeElement?.getAttribute('popovertarget');
});
document.addEventListener('htmx:afterSettle', () => {
  if (document.activeElement === document.body) {
    const opener = (id) => id && document.querySelector(`[popovertarget="${CSS.escape(id)}"]`);
    const target = opener(held) ?? opener(neighbour);
    if (target) {
      target.focus({ preventScroll: true });
      neighbour = null;
    }
  }
  held = null;
});
