// @ts-check
// The one live connection of a page: subscriptions over /ws, a snapshot first, then changes.
// It reconnects by itself, sleeps while the tab is hidden, and says when it cannot connect, so
// that the page can fall back to a refresh every 30 seconds.

const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;
const PING_EVERY = 20_000;
const SILENCE = 50_000;
/** A proxy may take a connection and never say anything. */
const UNHEEDED = 15_000;
const SLEEP_AFTER = 60_000;

/** Whether a topic matches a filter in which `+` stands for one level. */
export function matches(filter, topic) {
  if (filter === topic) return true;
  const wanted = filter.split('/');
  const given = topic.split('/');
  return wanted.length === given.length && wanted.every((level, i) => level === '+' || level === given[i]);
}

/**
 * Events: `open` (each time that the portal speaks to us), `close`, `link` (detail: broker, hub, since), `refused`
 * (detail: the error), `failed` (detail: what one commanded by hand, and why it failed after it was accepted).
 */
export class Live extends EventTarget {
  /** @param {string} url @param {(url: string) => WebSocket} connect */
  constructor(url, connect = (address) => new WebSocket(address)) {
    super();
    this.url = url;
    this.connect = connect;
    /** @type {Map<string, Set<(frame: any) => void>>} */
    this.handlers = new Map();
    /** The latest payload of every retained topic that was subscribed to. @type {Map<string, any>} */
    this.latest = new Map();
    this.socket = null;
    this.failures = 0;
    this.opened = false;
    /** Whether this connection brought anything: a portal with too many viewers closes without a word. */
    this.heeded = false;
    this.timer = 0;
    this.sleeper = 0;
    this.heard = 0;
    this.watch = 0;
    document.addEventListener('visibilitychange', () => this.visibility());
    addEventListener('online', () => this.now());
    addEventListener('pagehide', () => this.stop());
    addEventListener('pageshow', (event) => {
      if (event.persisted) this.now();
    });
  }

  get connected() {
    return this.heeded && this.socket?.readyState === WebSocket.OPEN;
  }

  start() {
    this.open();
    return this;
  }

  /**
   * Subscribe a handler to a topic or a filter with `+`; it gets frames of the types snapshot,
   * change, telemetry and console. Returns what undoes it.
   * @param {string} filter @param {(frame: any) => void} handler
   */
  subscribe(filter, handler) {
    let set = this.handlers.get(filter);
    if (!set) {
      set = new Set();
      this.handlers.set(filter, set);
      this.send({ subscribe: [filter] });
    } else {
      for (const [topic, payload] of this.latest) {
        if (matches(filter, topic)) handler({ type: 'snapshot', topic, payload });
      }
    }
    set.add(handler);
    return () => {
      if (!set.delete(handler) || set.size > 0) return;
      this.handlers.delete(filter);
      this.send({ unsubscribe: [filter] });
      for (const topic of this.latest.keys()) {
        if (![...this.handlers.keys()].some((other) => matches(other, topic))) this.latest.delete(topic);
      }
    };
  }

  send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  open() {
    clearTimeout(this.timer);
    if (this.socket || document.hidden) return;
    const socket = this.connect(this.url);
    this.socket = socket;
    this.heeded = false;
    this.timer = window.setTimeout(() => this.drop(), UNHEEDED);
    socket.onopen = () => {
      this.heard = Date.now();
      this.watch = window.setInterval(() => this.listen(), PING_EVERY);
      if (this.handlers.size > 0) this.send({ subscribe: [...this.handlers.keys()] });
    };
    socket.onmessage = (event) => {
      this.heard = Date.now();
      if (!this.heeded && this.socket === socket) this.heed();
      this.frame(JSON.parse(event.data));
    };
    socket.onclose = () => {
      if (this.socket === socket) this.closed();
    };
  }

  heed() {
    clearTimeout(this.timer);
    this.heeded = true;
    this.latest.clear(); // what was there before may be gone
    this.failures = 0;
    this.dispatchEvent(new CustomEvent('open', { detail: { again: this.opened } }));
    this.opened = true;
  }

  /** A ping now and then; a server that stays silent is given up. */
  listen() {
    if (Date.now() - this.heard > SILENCE) this.drop();
    else this.send({ ping: Date.now() });
  }

  /** Give a connection up that says nothing. */
  drop() {
    const { socket } = this;
    this.closed();
    socket?.close();
  }

  closed() {
    clearTimeout(this.timer);
    clearInterval(this.watch);
    this.socket = null;
    this.failures += 1;
    this.dispatchEvent(new CustomEvent('close', { detail: { failures: this.failures } }));
    const longest = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** (this.failures - 1));
    this.timer = window.setTimeout(() => this.open(), longest * (0.5 + Math.random() / 2));
  }

  /** Try at once: the network came back or the tab is looked at again. */
  now() {
    if (this.socket) return;
    this.failures = 0;
    this.open();
  }

  /** Close without a new attempt. */
  stop() {
    clearTimeout(this.timer);
    clearInterval(this.watch);
    const { socket } = this;
    this.socket = null;
    if (!socket) return;
    // Earlier, the browser would complain that it never came to be.
    if (socket.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close();
    else socket.close();
  }

  visibility() {
    clearTimeout(this.sleeper);
    if (document.hidden) this.sleeper = window.setTimeout(() => this.stop(), SLEEP_AFTER);
    else this.now();
  }

  frame(frame) {
    switch (frame.type) {
      case 'snapshot':
      case 'change':
        if (frame.payload === null) this.latest.delete(frame.topic);
        else this.latest.set(frame.topic, frame.payload);
        this.deliver(frame);
        break;
      case 'telemetry':
      case 'console':
        this.deliver(frame);
        break;
      case 'link':
        this.dispatchEvent(new CustomEvent('link', { detail: frame }));
        break;
      case 'failed':
        this.dispatchEvent(new CustomEvent('failed', { detail: frame }));
        break;
      case 'error':
        this.dispatchEvent(new CustomEvent('refused', { detail: frame.error }));
        break;
      default:
    }
  }

  deliver(frame) {
    for (const [filter, set] of this.handlers) {
      if (matches(filter, frame.topic)) for (const handler of [...set]) handler(frame);
    }
  }
}

const scheme = location.protocol === 'https:' ? 'wss' : 'ws';

/** The page's own connection; `common.js` starts it. */
export const live = new Live(`${scheme}://${location.host}/ws`);
