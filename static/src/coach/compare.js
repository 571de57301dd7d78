// Two analyses side by side, laid on each other at their strike: one clock moves both.
import { setIcon } from '../ui/dom.js';
import { Recording } from './recording.js';
import { Stage } from './stage.js';

// Players drift apart by a few frames a minute; what is further apart than this is pulled together.
const DRIFT_SECONDS = 0.05;

export async function openComparison(root) {
  const places = [...root.querySelectorAll('[data-stage]')];
  let recordings;
  try {
    recordings = await Promise.all(places.map(({ dataset }) => Recording.load(dataset.stage)));
  } catch (error) {
    root.querySelector('[data-analysis-problem]').hidden = false;
    console.error(error);
    return;
  }
  const stages = places.map((place, at) => new Stage(place, recordings[at]));
  const [first, second] = stages;
  // Where one of them has no strike, both begin together.
  const isAligned = recordings.every(({ summary }) => summary.moments);
  const [start, other] = isAligned ? recordings.map(({ anchor }) => anchor) : [0, 0];
  const offset = other - start;
  root.querySelector('[data-both-strike]').hidden = !isAligned;
  root.querySelector('[data-apart]').hidden = isAligned;
  const clock = root.querySelector('[data-relative]');
  const slider = root.querySelector('[data-scrub-both]');
  slider.min = Math.max(0, -offset);
  slider.max = Math.max(slider.min, Math.min(first.duration, second.duration - offset));
  const go = (time) => {
    first.seek(time);
    second.seek(time + offset);
  };
  first.onTime((time) => {
    const apart = Number((time - start).toFixed(2));
    clock.textContent = `${Math.abs(apart).toFixed(2)} s ${apart < 0 ? 'before' : 'after'} the ${isAligned ? 'strike' : 'beginning'}`;
    if (!slider.matches(':active')) slider.value = time;
    if (!first.video.paused && Math.abs(second.time - time - offset) > DRIFT_SECONDS) second.video.currentTime = time + offset;
  });
  const on = (name, act) => root.querySelector(`[data-both-${name}]`).addEventListener('click', act);
  on('play', () => first.toggle());
  // However one of them starts or ends, the other goes along.
  for (const { video } of stages) for (const name of ['play', 'pause']) video.addEventListener(name, () => follow(name === 'play'));
  function follow(plays) {
    const [from, to] = [Number(slider.min), Number(slider.max)];
    // Where one of them has nothing more to show, both begin anew.
    if (plays && (first.time < from - DRIFT_SECONDS || first.time > to - DRIFT_SECONDS)) {
      first.video.currentTime = from;
      second.video.currentTime = from + offset;
    }
    for (const { video } of stages) {
      if (plays && video.paused) video.play().catch(() => {});
      if (!plays && !video.paused) video.pause();
    }
    const button = root.querySelector('[data-both-play]');
    button.setAttribute('aria-label', plays ? 'Pause' : 'Play');
    button.title = plays ? 'Pause' : 'Play';
    if (plays) setIcon(button.querySelector('svg'), 'pause');
    else setIcon(button.querySelector('svg'), 'play');
  }
  on('back', () => go(recordings[0].neighbour(first.time, -1)));
  on('on', () => go(recordings[0].neighbour(first.time, 1)));
  on('strike', () => go(start));
  slider.addEventListener('input', () => go(Number(slider.value)));
  root.querySelector('[data-both-speed]').addEventListener('change', ({ target }) => stages.forEach(({ video }) => (video.playbackRate = Number(target.value))));
  go(start);
  root.dataset.ready = 'yes';
}
