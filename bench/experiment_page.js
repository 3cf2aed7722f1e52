// Stands in for the live connection of a page and feeds it as fast as it takes it: a reading each
// second, a line of the log each five.
window.sockets = [];
window.WebSocket = class {
  static OPEN = 1;

  constructor() {
    this.readyState = 1;
    window.sockets.push(this);
    setTimeout(() => this.onopen?.());
  }

  send() {}

  close() {}
};

const FRAME = 600;

/** @param {{experiment: string, node: string, channels: number, begun: number, from: number, to: number}} week */
window.feed = async ({ experiment, node, channels, begun, from, to }) => {
  const say = (frame) => window.sockets.at(-1).onmessage({ data: JSON.stringify(frame) });
  for (let start = from; start < to; start += FRAME) {
    const payloads = Array.from({ length: FRAME }, (_, i) => {
      const elapsed = start + i;
      const values = {};
      for (let c = 0; c < channels; c += 1) values[`c${c}`] = Math.sin(elapsed / 900 + c) + c;
      const t = new Date((begun + elapsed) * 1000).toISOString();
      return { t, experiment_id: experiment, elapsed, values, series: {} };
    });
    say({ type: 'telemetry', topic: `nodes/${node}/telemetry`, seq: start, payloads });
    const lines = Array.from({ length: FRAME / 5 }, (_, i) => ({
      n: start / 5 + i + 1,
      t: payloads[5 * i].t,
      source: 'stdout',
      text: `od ${Math.random()} at ${start + 5 * i}`,
    }));
    say({
      type: 'console', topic: `nodes/${node}/console`, seq: start, experiment_id: experiment, lines, dropped: 0,
    });
    await new Promise(requestAnimationFrame);
  }
};
