// What an analysis wrote: poses by time, the series behind the charts, and signed addresses of its files.
import { call } from '../upload/api.js';

// Between two samples that are further apart nothing is drawn: the athlete was not seen there.
const GAP_FRAMES = 2.5;

export class Recording {
  /** @param {string} id of the analysis */
  static async load(id) {
    const base = `/api/coaches/plus/analysis-jobs/${id}`;
    const [{ files }, { summary, video_id: videoId, session_id: sessionId }] = await Promise.all([call('GET', `${base}/files`), call('GET', base)]);
    const [lines, table, video] = await Promise.all([
      unpacked(files[summary.files.poses]),
      fetched(files[summary.files.angles]).then((answer) => answer.text()),
      call('GET', `/api/videos/${videoId}/playback-url`),
    ]);
    return new Recording({ summary, files, video, videoId, sessionId, poses: lines.map((line) => JSON.parse(line)), table });
  }

  constructor({ summary, files, video, videoId, sessionId, poses: [head, ...frames], table }) {
    Object.assign(this, { summary, files, video, videoId, sessionId, width: head.width, height: head.height, bones: head.bones, frames });
    this.times = frames.map(({ t }) => t);
    this.step = 1 / (summary.frames.effective_fps || summary.frames.sample_fps);
    this.series = columns(table);
  }

  /** Where a moment of interest is; the one that two recordings are laid on each other by. */
  get anchor() {
    const { moments } = this.summary;
    return moments ? (moments.impact ?? moments.strike) : 0;
  }

  /** The athlete's points at a time (seconds), between two samples by a straight line; null when nobody is seen. */
  poseAt(time) {
    const after = upper(this.times, time);
    const [one, other] = [this.frames[after - 1], this.frames[after]];
    if (!one?.athlete) return one || !other?.athlete || other.t - time > this.step ? null : other.athlete.points;
    if (time - one.t > this.step * GAP_FRAMES) return null;
    if (!other?.athlete || other.t - one.t > this.step * GAP_FRAMES) return one.athlete.points;
    const share = (time - one.t) / (other.t - one.t);
    return one.athlete.points.map((point, at) => {
      const next = other.athlete.points[at];
      return point && next ? point.map((value, axis) => value + (next[axis] - value) * share) : point;
    });
  }

  /** The sampled frame that lies next in a direction. @param {1 | -1} direction */
  neighbour(time, direction) {
    const slack = 0.002;
    if (direction > 0) return this.times[upper(this.times, time + slack)] ?? this.times.at(-1);
    return this.times[Math.max(0, upper(this.times, time - slack) - 1)];
  }
}

/** How many of the sorted `times` are not after `time`. */
function upper(times, time) {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= time) low = middle + 1;
    else high = middle;
  }
  return low;
}

async function fetched(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`The storage answered ${answer.status}`);
  return answer;
}

async function unpacked(url) {
  const { body } = await fetched(url);
  const text = await new Response(body.pipeThrough(new DecompressionStream('gzip'))).text();
  return text.trimEnd().split('\n');
}

function columns(table) {
  const [head, ...rows] = table.trimEnd().split(/\r?\n/).map((line) => line.split(','));
  return Object.fromEntries(head.map((name, at) => [name, rows.map((row) => (row[at] === '' ? null : isNaN(row[at]) ? row[at] : Number(row[at])))]));
}
