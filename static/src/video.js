// A video's page: the player, its keys, a signed address that is renewed in time; copy link; the heading's editor.
import { Player } from './ui/player.js';
import { toast } from './ui/toasts.js';

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const dated = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' });
start(document);
document.addEventListener('htmx:load', (event) => start(event.target));

function start(within) {
  startPlayers(within);
  // The server wrote UTC; people read their own clock.
  for (const time of within.querySelectorAll('time[data-clock]')) {
    const moment = new Date(time.dateTime);
    const today = moment.toDateString() === new Date().toDateString();
    time.textContent = (today ? clock : dated).format(moment);
    time.title = exact.format(moment);
  }
}

function startPlayers(within) {
  const found = within.matches?.('[data-player]') ? [within] : within.querySelectorAll('[data-player]');
  for (const video of found) {
    if (!video.dataset.started) {
      video.dataset.started = 'yes';
      new Player(video);
    }
  }
}

document.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copy]');
  if (!button) return;
  const link = new URL(button.dataset.copy, location.href).href;
  try {
    await navigator.clipboard.writeText(link);
    toast({ kind: 'good', message: 'Link copied.' });
  } catch {
    // Without https, or when the browser forbids it: show the link, so that it can be copied by hand.
    toast({ message: link });
  }
});

document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') event.target.closest?.('#edit-form')?.querySelector('[data-leave-editor]')?.click();
});
document.addEventListener('htmx:afterSettle', () => {
  document.querySelector('#edit-form [aria-invalid="true"]')?.focus();
  if (editing && !document.getElementById('edit-form') && document.activeElement === document.body) {
    document.getElementById('edit-button')?.focus({ preventScroll: true });
  }
  editing = Boolean(document.getElementById('edit-form'));
});

let editing = false;
