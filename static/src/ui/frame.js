// The frame: `/` focuses the search, the sidebar folds, the theme is chosen.
import { memory } from './dom.js';

const root = document.documentElement;

export function startFrame() {
  document.addEventListener('keydown', focusSearch);
  document.addEventListener('click', (event) => {
    if (event.target.closest('[data-fold-sidebar]')) fold(root.dataset.sidebar !== 'folded');
    const choice = event.target.closest('[data-theme-choice]');
    if (choice) chooseTheme(choice.dataset.themeChoice);
  });
  document.addEventListener('change', (event) => {
    if (event.target.matches('input[data-theme-radio]')) chooseTheme(event.target.value);
  });
  // A form that came back with a complaint: the cursor goes where the complaint is.
  document.querySelector('main [aria-invalid="true"]')?.focus();
  // On a phone not all tabs fit: the open one is seen.
  document.querySelector('.tabs [aria-current]')?.scrollIntoView({ inline: 'center', block: 'nearest' });
  fold(root.dataset.sidebar === 'folded');
  showTheme();
  showAddress();
  forgetDone();
}

/** What answered a form has the form's address: loaded again it would be sent once more, or lead nowhere. */
function showAddress() {
  const main = document.querySelector('main[data-address]');
  if (main) history.replaceState(history.state, '', main.dataset.address);
}

/** `?done=…` made the server say “Saved.” once; loading the page again must not say it again. */
function forgetDone() {
  const url = new URL(location.href);
  if (!url.searchParams.has('done')) return;
  url.searchParams.delete('done');
  history.replaceState(history.state, '', url);
}

function focusSearch(event) {
  if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest('input, textarea, select, [contenteditable], dialog[open]')) return;
  const search = document.querySelector('[data-search]');
  if (!search) return;
  event.preventDefault();
  search.focus();
  search.select();
}

function fold(folded) {
  const button = document.querySelector('[data-fold-sidebar]');
  if (!button) return;
  if (folded) root.dataset.sidebar = 'folded';
  else delete root.dataset.sidebar;
  memory.set('sidebar', folded ? 'folded' : 'wide');
  button.setAttribute('aria-expanded', String(!folded));
  button.title = folded ? 'Unfold the sidebar' : 'Fold the sidebar';
  button.querySelector('span').textContent = folded ? 'Unfold' : 'Fold';
}

function chooseTheme(choice) {
  memory.set('theme', choice);
  document.dispatchEvent(new CustomEvent('theme:changed'));
  showTheme();
}

function showTheme() {
  const choice = memory.get('theme') ?? 'system';
  for (const item of document.querySelectorAll('[data-theme-choice]')) {
    item.setAttribute('aria-checked', String(item.dataset.themeChoice === choice));
  }
  for (const radio of document.querySelectorAll('input[data-theme-radio]')) radio.checked = radio.value === choice;
}
