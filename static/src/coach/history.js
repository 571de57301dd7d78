// A player's metric over sessions, from the table beside it: a point for each analysis, the sessions along the axis.
import uPlot from 'uplot';

const HEIGHT = 220;

export function openHistory(root) {
  const rows = [...root.querySelectorAll('tr[data-value]')];
  const place = root.querySelector('[data-plot]');
  const times = rows.map((row) => Number(row.dataset.at));
  const values = rows.map((row) => Number(row.dataset.value));
  const unit = root.dataset.unit;
  let plot;

  function draw() {
    plot?.destroy();
    const style = getComputedStyle(document.documentElement);
    const read = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: read('--muted-foreground'), grid: { stroke: read('--border'), width: 1 }, ticks: { stroke: read('--border'), width: 1 }, font: '11px Inter Variable, sans-serif' };
    plot = new uPlot(
      {
        width: place.clientWidth || 400,
        height: HEIGHT,
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false } },
        scales: { x: { time: false, range: (_, low, high) => [low - 0.5, high + 0.5] }, y: { range: (_, low, high) => around(low, high) } },
        axes: [
          { ...axis, size: 28, splits: () => spread(rows.length, place.clientWidth / 90), values: (_, ticks) => ticks.map((at) => day(times[at])) },
          { ...axis, size: 52, values: (_, ticks) => ticks.map((tick) => `${Number(tick.toFixed(3))}${unit}`.replace('-', '−')) },
        ],
        series: [{}, { stroke: read('--brand'), width: 2, points: { show: true, size: 8, fill: read('--brand') } }],
        hooks: { setCursor: [({ cursor }) => rows.forEach((row, at) => row.toggleAttribute('data-now', at === cursor.idx))] },
      },
      [rows.map((_, at) => at), values],
      place,
    );
  }

  draw();
  let width = place.clientWidth;
  new ResizeObserver(() => {
    if (place.clientWidth === width) return;
    width = place.clientWidth;
    plot.setSize({ width, height: HEIGHT });
  }).observe(place);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ['class', 'data-theme'] });
  root.dataset.ready = 'yes';
}

/** A little room above and below, also around a single value. */
function around(low, high) {
  const room = (high - low) * 0.15 || Math.abs(high) * 0.1 || 1;
  return [low - room, high + room];
}

/** At most `most` of `count` places, evenly. */
function spread(count, most) {
  const step = Math.max(1, Math.ceil(count / Math.max(1, most)));
  return Array.from({ length: Math.ceil(count / step) }, (_, at) => at * step);
}

function day(time) {
  return time === undefined ? '' : new Date(time * 1000).toLocaleDateString([], { day: 'numeric', month: 'short' });
}
