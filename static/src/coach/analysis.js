// The open analysis of a session: player, charts, findings and phases with one time.
import { Charts } from './charts.js';
import { offerOthers } from './choose.js';
import { showMoments } from './moments.js';
import { PhaseEditor } from './phases.js';
import { Recording } from './recording.js';
import { Stage } from './stage.js';

/** @param {HTMLElement} root @param {(id: string) => void} made  called with an analysis that was asked for */
export async function openAnalysis(root, made) {
  const { analysis: id } = root.dataset;
  let recording;
  try {
    recording = await Recording.load(id);
  } catch (error) {
    root.querySelector('[data-analysis-problem]').hidden = false;
    console.error(error);
    return;
  }
  root.style.setProperty('--shape', `${recording.width} / ${recording.height}`);
  const stage = new Stage(root.querySelector('[data-stage]'), recording);
  const place = root.querySelector('[data-charts]');
  const charts = place && new Charts(place, recording, (time) => stage.seek(time));
  const phases = [...root.querySelectorAll('[data-phase]')];
  stage.onTime((time) => {
    charts?.show(time);
    for (const phase of phases) phase.toggleAttribute('data-now', time >= Number(phase.dataset.from) && time < Number(phase.dataset.to));
  });
  showMoments(root, recording);
  for (const link of root.querySelectorAll('[data-file]')) link.href = recording.files[link.dataset.file] ?? '#';
  root.addEventListener('click', (event) => {
    const jump = event.target.closest('[data-at]');
    if (!jump) return;
    stage.seek(Number(jump.dataset.at));
    root.querySelector('[data-stage]').scrollIntoView({ block: 'nearest' });
  });
  document.addEventListener('keydown', (event) => onKey(event, stage));
  // Where nobody is yet there is nothing to look at.
  const { athlete } = recording.summary;
  const followed = athlete?.people.find((each) => each.id === athlete.id);
  if (followed?.from > 0.5) stage.seek(followed.from);
  const editor = root.querySelector('[data-phases-editor]');
  if (editor) new PhaseEditor(editor, id, stage);
  offerOthers(root, stage, made);
  root.dataset.ready = 'yes';
}

function onKey(event, stage) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input:not([type="range"]), textarea, select, dialog')) return;
  const act = {
    ',': () => stage.step(-1),
    '.': () => stage.step(1),
    k: () => stage.toggle(),
    ' ': event.target.closest('button, a, summary') ? null : () => stage.toggle(),
    ArrowLeft: () => stage.seek(stage.time - 1),
    ArrowRight: () => stage.seek(stage.time + 1),
  }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}
