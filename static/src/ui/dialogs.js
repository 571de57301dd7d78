// Dialogs that hold a form, secrets that are shown once, and forms whose button appears with the first change. Without
// scripts the address opens a dialog (`?ask=…`), and all buttons are there.
import { toast } from './toasts.js';

export function startDialogs() {
  document.addEventListener('click', onClick);
  document.addEventListener('keydown', pressBySpace);
  document.addEventListener('close', forgetAsking, true); // does not bubble
  document.addEventListener('change', (event) => {
    if (event.target.matches('[data-reveals]')) buttonOf(event.target).hidden = false;
  });
  for (const dialog of document.querySelectorAll('dialog[data-opened]')) {
    dialog.removeAttribute('open');
    dialog.showModal();
    dialog.querySelector('[aria-invalid="true"]')?.focus();
  }
  for (const select of document.querySelectorAll('[data-reveals]')) buttonOf(select).hidden = true;
  const secret = document.querySelector('[data-shown-once]');
  if (secret) {
    secret.focus();
    secret.select();
  }
}

function buttonOf(select) {
  return select.form.querySelector('[type="submit"]');
}

function onClick(event) {
  const opener = event.target.closest('[data-dialog]');
  const dialog = opener && document.getElementById(opener.dataset.dialog);
  if (dialog && !(event.ctrlKey || event.metaKey || event.shiftKey)) {
    event.preventDefault();
    dialog.showModal();
    return;
  }
  const closer = event.target.closest('dialog[open] [data-close-dialog]');
  if (closer) {
    event.preventDefault();
    closer.closest('dialog').close();
    return;
  }
  const copier = event.target.closest('[data-copy-text]');
  if (copier) copy(document.getElementById(copier.dataset.copyText));
}

/** A link that is said to be a button is pressed by the space bar, too. */
function pressBySpace(event) {
  if (event.key !== ' ' || !event.target.matches('a[role="button"]')) return;
  event.preventDefault();
  event.target.click();
}

async function copy(input) {
  try {
    await navigator.clipboard.writeText(input.value);
    toast({ kind: 'good', message: 'Copied.' });
  } catch {
    // Without https, or when the browser forbids it: it is selected, so that it can be copied by hand.
    input.focus();
    input.select();
    toast({ message: 'Press Ctrl+C to copy.' });
  }
}

function forgetAsking(event) {
  const url = new URL(location.href);
  if (!event.target.matches?.('dialog.dialog') || !url.searchParams.has('ask')) return;
  // A dialog that the page came with was opened by no button: the focus goes to the one that would have.
  if (document.activeElement === document.body) document.querySelector(`a[role="button"][href$="?ask=${CSS.escape(url.searchParams.get('ask'))}"]`)?.focus();
  url.searchParams.delete('ask');
  history.replaceState(history.state, '', url);
}
