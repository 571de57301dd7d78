// The series of an analysis over time: left against right in one chart, the phases as bands, the player's time as the cursor.
import uPlot from 'uplot';

import { element } from '../ui/dom.js';

const HEIGHT = 128;
const GROUPS = { angles: 'Angles', speed: 'Speed', position: 'Position and balance' };
const UNITS = { deg: '°' };

export class Charts {
  #plots = [];
  #quiet = false;
  #time;

  /**
   * @param {HTMLElement} root
   * @param {import('./recording.js').Recording} recording
   * @param {(time: number) => void} seek
   */
  constructor(root, recording, seek) {
    Object.assign(this, { root, recording, seek });
    this.#draw();
    let width = root.clientWidth;
    new ResizeObserver(() => {
      if (root.clientWidth === width) return;
      width = root.clientWidth;
      for (const plot of this.#plots) plot.setSize({ width, height: HEIGHT });
    }).observe(root);
    // Colours are of the theme, and drawn.
    new MutationObserver(() => this.#draw()).observe(document.documentElement, { attributeFilter: ['class', 'data-theme'] });
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#draw());
  }

  /** Lay every cursor at this time (seconds). */
  show(time) {
    this.#time = time;
    this.#quiet = true;
    for (const plot of this.#plots) plot.setCursor({ left: plot.valToPos(time, 'x'), top: 0 }, false);
    for (const plot of this.#plots) tellValues(plot, time);
    this.#quiet = false;
  }

  #draw() {
    for (const plot of this.#plots) plot.destroy();
    this.#plots = [];
    this.root.replaceChildren();
    const colours = readColours();
    for (const [group, title] of Object.entries(GROUPS)) {
      const charts = chartsOf(this.recording.summary.series.filter((each) => each.group === group && each.coverage > 0));
      if (!charts.length) continue;
      const body = element('div', { class: 'charts' });
      const section = element('details', { class: 'chart-group', open: group === 'angles' }, element('summary', {}, title), body);
      this.root.append(section);
      for (const lines of charts) body.append(this.#chart(lines, colours));
      section.addEventListener('toggle', () => section.open && this.#fit());
    }
    this.#fit();
    if (this.#time !== undefined) this.show(this.#time);
  }

  #fit() {
    const width = this.root.clientWidth;
    if (width) for (const plot of this.#plots) plot.setSize({ width, height: HEIGHT });
  }

  #chart(lines, colours) {
    const figure = element('figure', { class: 'chart' });
    const values = element('span', { class: 'chart-values' });
    figure.append(element('figcaption', {}, element('span', { class: 'font-medium' }, titleOf(lines)), values));
    const axis = { stroke: colours.text, grid: { stroke: colours.grid, width: 1 }, ticks: { stroke: colours.grid, width: 1 }, font: '11px Inter Variable, sans-serif' };
    const unit = UNITS[lines[0].unit] ?? '';
    const plot = new uPlot(
      {
        width: this.root.clientWidth || 400,
        height: HEIGHT,
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
        scales: { x: { time: false } },
        axes: [
          { ...axis, size: 28, values: (_, ticks) => ticks.map((tick) => `${tick} s`) },
          { ...axis, size: 44, values: (_, ticks) => ticks.map((tick) => `${tick}${unit}`.replace('-', '−')) },
        ],
        series: [{}, ...lines.map((line) => ({ label: line.label, stroke: colourOf(line, colours), width: 2, spanGaps: false, points: { show: false } }))],
        hooks: {
          drawClear: [(drawn) => this.#bands(drawn, colours)],
          ready: [(ready) => this.#listen(ready)],
        },
      },
      [this.recording.series.t, ...lines.map((line) => this.recording.series[line.name])],
      figure,
    );
    plot.values = { element: values, lines, unit };
    this.#plots.push(plot);
    return figure;
  }

  #listen(plot) {
    const at = (event) => plot.posToVal(event.clientX - plot.over.getBoundingClientRect().left, 'x');
    plot.over.addEventListener('pointerdown', (event) => {
      plot.over.setPointerCapture(event.pointerId);
      this.seek(at(event));
    });
    plot.over.addEventListener('pointermove', (event) => {
      if (event.buttons && !this.#quiet) this.seek(at(event));
    });
  }

  #bands(plot, colours) {
    const { ctx: pen, bbox } = plot;
    for (const [number, phase] of (this.recording.summary.phases ?? []).entries()) {
      const left = Math.max(bbox.left, plot.valToPos(phase.start, 'x', true));
      const right = Math.min(bbox.left + bbox.width, plot.valToPos(phase.end, 'x', true));
      if (right <= left) continue;
      pen.fillStyle = colours.bands[number % colours.bands.length];
      pen.fillRect(left, bbox.top, right - left, bbox.height);
    }
  }
}

/** Lines that belong together: both sides of a joint, or one alone. */
function chartsOf(series) {
  const charts = new Map();
  for (const line of series) {
    const key = line.pair ?? line.name;
    charts.set(key, [...(charts.get(key) ?? []), line]);
  }
  return [...charts.values()];
}

function titleOf(lines) {
  return lines.length > 1 ? lines[0].label.replace(/,? (left|right)$/i, '') : lines[0].label;
}

function tellValues(plot, time) {
  const { element: place, lines, unit } = plot.values;
  const times = plot.data[0];
  let at = 0;
  while (at + 1 < times.length && Math.abs(times[at + 1] - time) <= Math.abs(times[at] - time)) at += 1;
  place.replaceChildren(
    ...lines.map(({ side }, number) => {
      const value = plot.data[number + 1]?.[at];
      const words = value == null ? '–' : `${told(value, unit ? 0 : 2)}${unit}`;
      return element('span', { 'data-side': side }, side ? `${side} ${words}` : words);
    }),
  );
}

/** As people write numbers: with a minus, and without one before nothing. */
function told(value, places) {
  const number = value.toFixed(places);
  return Number(number) ? number.replace('-', '−') : number.replace('-', '');
}

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return {
    text: read('--muted-foreground'),
    grid: read('--border'),
    left: read('--chart-left'),
    right: read('--chart-right'),
    alone: read('--brand'),
    bands: ['--band-1', '--band-2', '--band-3', '--band-4'].map(read),
  };
}

function colourOf(line, colours) {
  return line.side === 'left' ? colours.left : line.side === 'right' ? colours.right : colours.alone;
}
