// @ts-check
// The drawing of one panel, by uPlot: its scales, axes, lines and what is drawn over them.
import uPlot from 'uplot';
import { ink } from './inks.js';
import { drawMarks } from './marks.js';
import { extremes, logRange, logTicks, timeAxis, valueLabels, yRange } from './scales.js';
import { silences } from './table.js';

const FONT = '11px "Inter Variable", system-ui, sans-serif';
const BESIDE = 28;

/** Stretches without a line, in the plot's pixels: nobody measured, or the experiment was paused. */
function holes(u, series, first, last, base) {
  const column = /** @type {(number | null | undefined)[]} */ (u.data[series]);
  const found = silences(/** @type {number[]} */ (u.data[0]), column, first, last);
  // A hair's breadth of the experiment's time is minutes of the day, where it was paused.
  for (const { x } of base.pauses) found.push([x, x + 1e-6]);
  return found.map(([from, to]) => /** @type {[number, number]} */ ([from, to].map((x) => Math.round(u.valToPos(x, 'x', true)))))
    .filter(([from, to]) => to > from);
}

/** Where the experiment was paused, as a veil over the plot. */
function drawPauses(u, time) {
  if (!time.clock) return;
  const { ctx, bbox } = u;
  const [low, high] = [time.base.wall(u.scales.x.min), time.base.wall(u.scales.x.max)];
  const place = (t) => bbox.left + (Math.min(Math.max((t - low) / (high - low || 1), 0), 1)) * bbox.width;
  ctx.save();
  ctx.fillStyle = ink('--surface-3');
  ctx.globalAlpha = 0.6;
  for (const { from, to } of time.base.pauses) {
    const left = place(from);
    const right = place(to);
    if (right > left) ctx.fillRect(left, bbox.top, right - left, bbox.height);
  }
  ctx.restore();
}

/**
 * @typedef {object} Look
 * @property {import('./groups.js').Line[]} lines
 * @property {import('./table.js').Table} table
 * @property {boolean} logarithmic
 * @property {(name: string) => boolean} hidden
 * @property {() => import('./marks.js').Mark[]} marks
 * @property {(name: string | null) => string} inkOf
 */

/**
 * Make the plot.
 * @param {HTMLElement} area @param {{width: number, height: number}} size @param {Look} look
 * @param {{range: () => [number, number], reset: () => void, time: {clock: boolean, base: import('./timebase.js').Timebase}}} board
 * @param {{hover: (u: any) => void, selected: (u: any) => void}} called
 */
export function makePlot(area, { width, height }, look, board, called) {
  const { lines, table, logarithmic } = look;
  const { time } = board;
  const axis = {
    stroke: () => ink('--text-2'),
    font: FONT,
    ticks: { show: false },
    grid: { stroke: () => ink('--line'), width: 1 },
  };
  const shown = (u) => u.series.slice(1).flatMap((series, i) => (series.show ? [u.data[i + 1]] : []));
  return new uPlot(
    {
      width,
      height,
      padding: [8, 14, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        sync: { key: 'experiment', setSeries: false, scales: ['x', null] },
        drag: { x: true, y: false, setScale: false, dist: 4 },
        points: { size: 7 },
        bind: {
          dblclick: () => () => (board.reset(), null),
          mousedown: (u, target, handler) => (event) => (event.shiftKey || event.button !== 0 ? null : handler(event)),
        },
        dataIdx: (u, series, at) => (series === 0 ? at : Math.max(0, table.valueAt(series - 1, at))),
      },
      scales: {
        x: {
          time: false,
          // one that may be told anew what a second is, without another plot
          distr: 100,
          fwd: (x) => (time.clock ? time.base.wall(x) : x),
          bwd: (place) => (time.clock ? time.base.elapsed(place) : place),
          range: () => board.range(),
        },
        y: {
          distr: logarithmic ? 3 : 1,
          range: (u) => {
            const [first, last] = u.series[0].idxs ?? [0, -1];
            const [low, high] = extremes(shown(u), first, last, logarithmic);
            return /** @type {[number, number]} */ ((logarithmic ? logRange : yRange)(low, high));
          },
        },
      },
      axes: [
        { ...axis, ...timeAxis(time), space: 64, size: 26, gap: 4 },
        {
          ...axis,
          size: 50,
          gap: 4,
          space: BESIDE,
          values: (u, splits, index, space, step) => valueLabels(splits, step, logarithmic),
          ...(logarithmic
            ? { splits: (u, index, low, high) => logTicks(low, high, u.bbox.height / devicePixelRatio / BESIDE), filter: (u, splits) => splits }
            : {}),
        },
      ],
      series: [
        {},
        ...lines.map((line) => ({
          label: line.label,
          show: !look.hidden(line.name),
          stroke: () => ink(line.ink),
          width: line.dashed ? 1.25 : 1.75,
          dash: line.dashed ? [5, 4] : undefined,
          gaps: (u, series, first, last, own) => [...own, ...holes(u, series, first, last, time.base)].sort((a, b) => a[0] - b[0]),
          paths: line.stepped ? uPlot.paths.stepped?.({ align: 1 }) : uPlot.paths.linear?.(),
          points: { size: 5, show: (u, series, first, last) => last - first < 3 },
        })),
      ],
      hooks: {
        drawAxes: [(u) => drawPauses(u, time)],
        draw: [(u) => drawMarks(u, look.marks(), table.names, look.inkOf)],
        setCursor: [called.hover],
        setSelect: [called.selected],
      },
    },
    /** @type {any} */ (table.data),
    area,
  );
}
