// Choosing whom to follow: everybody who was seen is a button in the picture, and any other place can be clicked as well.
import { call } from '../upload/api.js';
import { element } from '../ui/dom.js';
import { toast } from '../ui/toasts.js';

/**
 * @param {HTMLElement} root of the analysis
 * @param {import('./stage.js').Stage} stage
 * @param {(id: string) => void} made  called with the new analysis
 */
export function offerOthers(root, stage, made) {
  const opener = root.querySelector('[data-choose]');
  if (!opener) return;
  const { recording } = stage;
  const { athlete, frames, options } = recording.summary;
  const picture = root.querySelector('.coach-picture');
  const layer = element('div', { class: 'coach-people', hidden: true });
  for (const [at, { id, box, from }] of athlete.people.entries()) {
    const words = id === athlete.id ? `Person ${at + 1}, followed now` : `Follow person ${at + 1}`;
    const person = element('button', { type: 'button', class: 'coach-person', 'aria-label': words, title: words, 'data-current': id === athlete.id }, `${at + 1}`);
    const [left, top, width, height] = box;
    const share = (value, of) => `${Math.max(0, Math.min(100, (100 * value) / of))}%`;
    person.style.left = share(left, recording.width);
    person.style.top = share(top, recording.height);
    person.style.width = share(width, recording.width);
    person.style.height = share(height, recording.height);
    person.dataset.x = Math.max(0, Math.min(1, (left + width / 2) / recording.width));
    person.dataset.y = Math.max(0, Math.min(1, (top + height / 2) / recording.height));
    for (const reached of ['focus', 'pointerenter']) person.addEventListener(reached, () => stage.seek(from));
    layer.append(person);
  }
  picture.append(layer);

  opener.addEventListener('click', () => {
    const opens = layer.hidden;
    layer.hidden = !opens;
    opener.setAttribute('aria-expanded', opens);
    root.querySelector('[data-choosing]').hidden = !opens;
    if (!opens) return;
    stage.seek(frames.first_t ?? 0);
    picture.scrollIntoView({ block: 'nearest' });
  });
  layer.addEventListener('click', async (event) => {
    const person = event.target.closest('.coach-person');
    const bounds = layer.getBoundingClientRect();
    const x = person ? Number(person.dataset.x) : (event.clientX - bounds.left) / bounds.width;
    const y = person ? Number(person.dataset.y) : (event.clientY - bounds.top) / bounds.height;
    layer.inert = true;
    try {
      const { id } = await call('POST', `/api/coaches/plus/sessions/${recording.sessionId}/analysis-jobs`, {
        video_id: recording.videoId,
        sample_fps: options.sample_fps,
        include_frames: options.include_frames,
        athlete: { x: Math.max(0, Math.min(1, x)), y: Math.max(0, Math.min(1, y)) },
      });
      made(id);
    } catch (error) {
      layer.inert = false;
      toast({ kind: 'error', message: error.message || 'This could not be asked for. Try again.' });
    }
  });
}
