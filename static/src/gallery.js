// The wall: search as one types, deleting with undo, looks of what is being made.
import htmx from 'htmx.org';

import { startSearch } from './ui/search.js';
import { startPreviews } from './studio/previews.js';

startSearch('#gallery');
startPreviews();

// The tile goes at once; the answer brings the undo. If it cannot be deleted, the list that is fetched again has it.
document.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-delete]');
  if (!button) return;
  const tile = button.closest('.tile');
  const next = tile.nextElementSibling ?? tile.previousElementSibling;
  next?.querySelector('.tile-link')?.focus({ preventScroll: true });
  tile.hidden = true;
  await htmx.ajax('POST', button.dataset.delete, { swap: 'none' });
  htmx.trigger(document.body, 'gallery:changed');
});
