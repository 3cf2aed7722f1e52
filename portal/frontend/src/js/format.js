// @ts-check
const pad = (n) => String(n).padStart(2, '0');

/** Seconds as h:mm:ss, or h:mm where seconds do not matter. */
export function elapsed(seconds, withSeconds = false) {
  const sign = seconds < 0 ? '-' : '';
  const s = Math.floor(Math.abs(seconds));
  const text = `${sign}${Math.floor(s / 3600)}:${pad(Math.floor((s % 3600) / 60))}`;
  return withSeconds ? `${text}:${pad(s % 60)}` : text;
}

/** Seconds as people say them: 4:05 h, or 3 d 4 h. The same as the templates' `span`. */
export function span(seconds) {
  const minutes = Math.floor(seconds / 60);
  if (minutes >= 2880) return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
  return `${elapsed(seconds)} h`;
}

/** A measured value with the channel's own number of digits; a dash where there is none. */
export function number(value, precision = 3) {
  return value === null || value === undefined || !Number.isFinite(value)
    ? '–'
    : value.toFixed(precision);
}

/** A value whose precision nobody declared. */
export function general(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

/** A sentence from an error's message or hint. The same as the templates' `sentence`. */
export function sentence(text) {
  const t = String(text ?? '').trim();
  return t && `${/^.\p{Lu}/u.test(t) ? t[0] : t[0].toUpperCase()}${t.slice(1)}${/[.!?…]$/.test(t) ? '' : '.'}`;
}

/** Bytes with a unit. The same as the templates' `bytes`. */
export function bytes(n) {
  if (n < 1024) return `${n} B`;
  if (n < 1048576) return `${(n / 1024).toFixed(1)} kB`;
  if (n < 1073741824) return `${(n / 1048576).toFixed(1)} MB`;
  return `${(n / 1073741824).toFixed(2)} GB`;
}

const DAY = { month: 'short', day: 'numeric' };
const MINUTE = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' };
const clockFormat = new Intl.DateTimeFormat('en', /** @type {any} */ (MINUTE));
const dayFormat = new Intl.DateTimeFormat('en', /** @type {any} */ ({ ...DAY, ...MINUTE }));
const fullFormat = new Intl.DateTimeFormat('en', /** @type {any} */ ({ year: 'numeric', ...DAY, ...MINUTE, second: '2-digit' }));
const secondFormat = new Intl.DateTimeFormat('en', /** @type {any} */ ({ ...MINUTE, second: '2-digit' }));
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto', style: 'short' });

/** 14:02 today, Nov 21, 14:02 on another day. */
export function clock(date, now = new Date()) {
  return (date.toDateString() === now.toDateString() ? clockFormat : dayFormat).format(date);
}

/** 3 min. ago; beyond two days, the day. */
export function ago(date, now = new Date()) {
  const seconds = (date.getTime() - now.getTime()) / 1000;
  const size = Math.abs(seconds);
  if (size < 45) return seconds <= 0 ? 'just now' : 'in a moment';
  if (size < 3600) return relative.format(Math.round(seconds / 60), 'minute');
  if (size < 86400) return relative.format(Math.round(seconds / 3600), 'hour');
  if (size < 2 * 86400) return relative.format(Math.round(seconds / 86400), 'day');
  return dayFormat.format(date);
}

/** A moment in the style that a `<time data-time>` asks for. */
export function moment(date, style) {
  if (style === 'clock') return clock(date);
  if (style === 'second') return secondFormat.format(date);
  if (style === 'full') return fullFormat.format(date);
  return ago(date);
}
