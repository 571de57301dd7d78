// The newest look of what is being made. A live event names the picture; it takes the place of the one before only when
// it is loaded, so that nothing flickers.

export function startPreviews() {
  document.addEventListener('htmx:afterSettle', (event) => show(event.target));
  document.addEventListener('htmx:sseMessage', (event) => show(event.target));
}

function show(within) {
  const told = within.matches?.('[data-preview]') ? within : within.querySelector?.('[data-preview]');
  if (!told) return;
  const url = told.dataset.preview;
  const frame = told.closest('.making-stage')?.querySelector('.making-frame') ?? told.closest('.tile');
  if (!frame || frame.dataset.looking === url) return;
  frame.dataset.looking = url;
  const next = new Image();
  next.alt = '';
  next.className = frame.matches('.tile') ? 'tile-picture making-picture' : 'making-picture';
  next.addEventListener('load', () => {
    if (frame.dataset.looking !== url || !frame.isConnected) return;
    for (const before of frame.querySelectorAll('.making-picture, .making-mark')) before.remove();
    const link = frame.querySelector('.tile-link');
    if (link) link.after(next);
    else frame.prepend(next);
  }, { once: true });
  next.src = url;
}
