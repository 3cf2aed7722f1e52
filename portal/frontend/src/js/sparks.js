// @ts-check
// Small charts of the last minutes: one canvas a channel, drawn only when seen.
import { call } from './api.js';
import { Table, unbroken } from './charts/table.js';
import { inkOf } from './themes.js';

const WINDOW = 20 * 60;
const LIMIT = 600;
const EDGE = 2;

/** @type {Map<string, Table>} by `node/channel` */
const tables = new Map();
/** @type {Set<string>} nodes whose history was asked for */
const asked = new Set();
/** @type {Set<HTMLCanvasElement>} */
const dirty = new Set();
let frame = 0;

const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const canvas = /** @type {HTMLCanvasElement} */ (target);
    canvas.dataset.shown = isIntersecting ? 'yes' : 'no';
    if (isIntersecting) soon(canvas);
  }
});
const sized = new ResizeObserver((entries) => {
  for (const { target } of entries) soon(/** @type {HTMLCanvasElement} */ (target));
});

function soon(canvas) {
  dirty.add(canvas);
  if (!frame) frame = requestAnimationFrame(paint);
}

function paint() {
  frame = 0;
  for (const canvas of dirty) {
    if (!canvas.isConnected) {
      seen.unobserve(canvas);
      sized.unobserve(canvas);
    } else if (canvas.dataset.shown === 'yes') {
      draw(canvas);
    }
  }
  dirty.clear();
}

/** @param {HTMLCanvasElement} canvas */
function draw(canvas) {
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  const context = canvas.getContext('2d');
  if (!context || width === 0) return;
  const scale = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
  if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  const table = tables.get(canvas.dataset.spark ?? '');
  if (!table || table.length < 2) return;
  const [x, y] = /** @type {[number[], (number | null)[]]} */ (table.data);
  const end = table.last;
  const start = Math.max(x[0], end - WINDOW);
  const values = y.filter((value, i) => value !== null && value !== undefined && x[i] >= start);
  let low = Math.min(.../** @type {number[]} */ (values));
  let high = Math.max(.../** @type {number[]} */ (values));
  if (!Number.isFinite(low)) return;
  // A steady value is a straight line, not its noise blown up.
  const least = Math.max(Math.abs(high) * 0.02, 1e-6);
  if (high - low < least) {
    const middle = (high + low) / 2;
    low = middle - least / 2;
    high = middle + least / 2;
  }
  const px = (value) => EDGE + ((value - start) / (end - start || 1)) * (width - 2 * EDGE - 2);
  const py = (value) => height - EDGE - ((value - low) / (high - low)) * (height - 2 * EDGE);
  const line = new Path2D();
  const area = new Path2D();
  let lastX = 0;
  let lastY = 0;
  for (const run of unbroken(x, y, start)) {
    area.moveTo(px(run[0][0]), height);
    run.forEach(([at, value], i) => {
      lastX = px(at);
      lastY = py(value);
      if (i > 0) line.lineTo(lastX, lastY);
      else line.moveTo(lastX, lastY);
      area.lineTo(lastX, lastY);
    });
    area.lineTo(lastX, height);
  }
  const ink = inkOf(canvas);
  context.fillStyle = ink;
  context.globalAlpha = 0.1;
  context.fill(area);
  context.globalAlpha = 1;
  context.strokeStyle = ink;
  context.lineWidth = 1.5;
  context.lineJoin = 'round';
  context.stroke(line);
  context.beginPath();
  context.arc(lastX, lastY, 2, 0, 7);
  context.fill();
}

function table(key) {
  let found = tables.get(key);
  if (!found) {
    found = new Table(['v'], LIMIT);
    tables.set(key, found);
  }
  return found;
}

/** Load what a node measured in the last minutes; without it the lines begin now. */
async function load(node) {
  const end = Date.now() / 1000;
  const history = await call(`/api/nodes/${node}/history?start=${(end - WINDOW).toFixed(0)}&points=100`);
  loadSparks(node, history.traces);
}

/** Take a node's curves. @param {string} node @param {Record<string, {t: number[], v: (number | null)[]}>} traces */
export function loadSparks(node, traces) {
  for (const [channel, { t, v }] of Object.entries(traces)) {
    if (t.length > 0) table(`${node}/${channel}`).load({ v: { t, v } });
  }
  for (const canvas of document.querySelectorAll(`[data-spark^="${CSS.escape(node)}/"]`)) soon(/** @type {HTMLCanvasElement} */ (canvas));
}

/** Find the canvases of the page, now and after each refresh. */
export function findSparks() {
  for (const element of document.querySelectorAll('canvas[data-spark]')) {
    const canvas = /** @type {HTMLCanvasElement} */ (element);
    if (canvas.dataset.shown === undefined) {
      canvas.dataset.shown = 'no';
      seen.observe(canvas);
      sized.observe(canvas);
    }
    const node = /** @type {string} */ (canvas.dataset.spark).split('/')[0];
    // what begins with @ is fed by whoever has it
    if (!asked.has(node) && !node.startsWith('@')) {
      asked.add(node);
      load(node).catch(() => asked.delete(node));
    }
  }
}

/** Ask for the history again: the connection was away for a while. */
export function reloadSparks() {
  asked.clear();
  findSparks();
}

/** Add live readings of a node. @param {string} node @param {{t: string, values: Record<string, number | null>}[]} readings */
export function feedSparks(node, readings) {
  for (const { t, values } of readings) {
    const at = Date.parse(t) / 1000;
    for (const [channel, value] of Object.entries(values)) table(`${node}/${channel}`).append(at, { v: value });
  }
  for (const canvas of document.querySelectorAll(`[data-spark^="${CSS.escape(node)}/"]`)) soon(canvas);
}

document.addEventListener('theme', () => {
  for (const canvas of document.querySelectorAll('canvas[data-spark]')) soon(canvas);
});
