// @ts-check
// A chart as a picture that says what it shows.
import { ink } from './inks.js';

const TITLE = 54;
const FOOT = 24;
const PAD = 16;

/** Have the browser save something. @param {Blob} blob @param {string} name */
export function save(blob, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/**
 * A picture of a plot with its title, its lines' names and what its axis means.
 * @param {{canvas: HTMLCanvasElement, title: string, run: string, axis: string,
 *   lines: {label: string, ink: string, dashed: boolean}[]}} shown
 * @returns {Promise<Blob>}
 */
export function picture({ canvas, title, run, axis, lines }) {
  const scale = devicePixelRatio || 1;
  const sheet = document.createElement('canvas');
  sheet.width = canvas.width + 2 * PAD * scale;
  sheet.height = canvas.height + (TITLE + FOOT) * scale;
  const pen = /** @type {CanvasRenderingContext2D} */ (sheet.getContext('2d'));
  const width = sheet.width / scale;
  pen.scale(scale, scale);
  pen.fillStyle = ink('--surface');
  pen.fillRect(0, 0, width, sheet.height / scale);
  const write = (text, x, y, font, colour, align = 'left') => {
    pen.font = `${font} "Inter Variable", system-ui, sans-serif`;
    pen.fillStyle = ink(colour);
    pen.textAlign = /** @type {CanvasTextAlign} */ (align);
    pen.fillText(text, x, y, width - 2 * PAD);
  };
  write(title, PAD, 22, '600 14px', '--text');
  write(run, width - PAD, 22, '12px', '--text-2', 'right');
  let x = PAD;
  for (const { label, ink: colour, dashed } of lines) {
    pen.strokeStyle = ink(colour);
    pen.lineWidth = 2;
    pen.setLineDash(dashed ? [4, 3] : []);
    pen.beginPath();
    pen.moveTo(x, 40);
    pen.lineTo(x + 16, 40);
    pen.stroke();
    write(label, x + 22, 44, '12px', '--text-2');
    x += 22 + pen.measureText(label).width + 18;
  }
  pen.setLineDash([]);
  pen.drawImage(canvas, PAD, TITLE, canvas.width / scale, canvas.height / scale);
  write(axis, width - PAD, sheet.height / scale - 9, '11px', '--text-2', 'right');
  return new Promise((resolve, reject) => {
    sheet.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('the picture is too large'))), 'image/png');
  });
}
