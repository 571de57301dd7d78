// Runs before the first paint: the stored theme and the stored width of the sidebar, so that nothing flashes.
const root = document.documentElement;
const dark = window.matchMedia('(prefers-color-scheme: dark)');
const paper = window.matchMedia('print');

function stored(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // storage is blocked: the system's theme and the wide sidebar
  }
}

function apply() {
  const choice = stored('theme') ?? 'system';
  root.dataset.theme = choice;
  root.classList.toggle('dark', !paper.matches && (choice === 'dark' || (choice === 'system' && dark.matches)));
}

apply();
if (stored('sidebar') === 'folded') root.dataset.sidebar = 'folded';
if (stored('library-view') === 'table') root.dataset.view = 'table';
dark.addEventListener('change', apply);
paper.addEventListener('change', apply);
window.addEventListener('storage', (event) => event.key === 'theme' && apply());
document.addEventListener('theme:changed', apply);
