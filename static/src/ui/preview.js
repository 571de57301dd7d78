// Small pictures of a video at any of its moments: tiles of sprite sheets, named by a WebVTT track.
// A cue says where: "00:00:02.000 --> 00:00:04.000" and below it "sheet.jpg#xywh=160,0,160,90".

const CUE = /^(?:(\d+):)?(\d\d):(\d\d)\.(\d{3}) --> (?:(\d+):)?(\d\d):(\d\d)\.(\d{3})/;
const previews = new Map();

/** @returns {Promise<Preview>} of a track's address; asked for once, again when that failed or its pictures' addresses expired */
export function previewOf(track) {
  if (!previews.has(track)) {
    const loading = load(track);
    previews.set(track, loading);
    loading.catch(() => previews.delete(track));
  }
  return previews.get(track);
}

async function load(track) {
  const answer = await fetch(track);
  if (!answer.ok) throw new Error(`no preview: ${answer.status}`);
  const preview = new Preview(parse(await answer.text(), new URL(track, location.href)));
  preview.onExpired = () => previews.delete(track);
  return preview;
}

function parse(text, base) {
  const lines = text.split(/\r?\n/);
  const cues = [];
  lines.forEach((line, at) => {
    const found = CUE.exec(line);
    if (!found) return;
    const [h1, m1, s1, ms1, h2, m2, s2, ms2] = found.slice(1).map((digits) => Number(digits ?? 0));
    const address = new URL(lines[at + 1], base);
    const [x, y, width, height] = address.hash.replace('#xywh=', '').split(',').map(Number);
    address.hash = '';
    cues.push({ start: h1 * 3600 + m1 * 60 + s1 + ms1 / 1000, end: h2 * 3600 + m2 * 60 + s2 + ms2 / 1000, sheet: address.href, x, y, width, height });
  });
  return cues;
}

class Preview {
  #cues;
  #sheets = new Map();
  onExpired = () => {};

  constructor(cues) {
    this.#cues = cues;
  }

  /** Seconds the track covers. */
  get duration() {
    return this.#cues.at(-1)?.end ?? 0;
  }

  /** Draw the picture of a moment; the canvas takes the tile's own size, and style decides how large it is shown. */
  async draw(canvas, seconds) {
    const cue = this.#cues.find(({ end }) => seconds < end) ?? this.#cues.at(-1);
    if (!cue) return false;
    canvas.wanted = cue; // the pointer may have moved on by the time the sheet is there
    const sheet = await this.#sheet(cue.sheet);
    if (!sheet || canvas.wanted !== cue) return false;
    if (canvas.width !== cue.width || canvas.height !== cue.height) Object.assign(canvas, { width: cue.width, height: cue.height });
    canvas.getContext('2d').drawImage(sheet, cue.x, cue.y, cue.width, cue.height, 0, 0, cue.width, cue.height);
    return true;
  }

  #sheet(address) {
    if (!this.#sheets.has(address)) {
      const image = new Image();
      image.src = address;
      this.#sheets.set(address, image.decode().then(() => image, () => (this.onExpired(), null)));
    }
    return this.#sheets.get(address);
  }
}
