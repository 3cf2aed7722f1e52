import assert from 'node:assert/strict';
import { before, test } from 'node:test';

let Live;
let matches;

class Socket {
  constructor() {
    this.readyState = 0;
    this.sent = [];
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  open() {
    this.readyState = 1;
    this.onopen();
  }

  close() {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose();
  }

  say(frame) {
    this.onmessage({ data: JSON.stringify(frame) });
  }
}

before(async () => {
  globalThis.document = Object.assign(new EventTarget(), { hidden: false });
  globalThis.window = globalThis;
  globalThis.addEventListener = () => {};
  globalThis.location = { protocol: 'http:', host: 'here' };
  globalThis.WebSocket = { CONNECTING: 0, OPEN: 1 };
  ({ Live, matches } = await import('../src/js/live.js'));
});

function connected() {
  const sockets = [];
  const live = new Live('ws://here/ws', () => {
    sockets.push(new Socket());
    return sockets.at(-1);
  });
  return { live, sockets };
}

test('a plus stands for one level', () => {
  assert.ok(matches('nodes/+/report', 'nodes/reactor-1/report'));
  assert.ok(!matches('nodes/+/report', 'nodes/reactor-1/x/report'));
  assert.ok(!matches('nodes/+', 'queue/a'));
});

test('subscriptions made before the connection are sent once it is there, and again after a loss', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
  const { live, sockets } = connected();
  const seen = [];
  live.subscribe('queue', (frame) => seen.push(frame.payload));
  live.start();
  sockets[0].open();
  assert.deepEqual(sockets[0].sent, [{ subscribe: ['queue'] }]);
  sockets[0].say({ type: 'snapshot', topic: 'queue', seq: 1, payload: { revision: 1 } });
  sockets[0].close();
  t.mock.timers.tick(500);
  sockets[1].open();
  assert.deepEqual(sockets[1].sent, [{ subscribe: ['queue'] }]);
  assert.deepEqual(seen, [{ revision: 1 }]);
  live.stop();
});

test('whoever subscribes later gets the snapshot that is already here; the last one out unsubscribes', () => {
  const { live, sockets } = connected();
  live.start();
  sockets[0].open();
  const first = live.subscribe('nodes/+/report', () => {});
  sockets[0].say({ type: 'snapshot', topic: 'nodes/a/report', seq: 1, payload: { safe: true } });
  const seen = [];
  const second = live.subscribe('nodes/+/report', (frame) => seen.push(frame.topic));
  assert.deepEqual(seen, ['nodes/a/report']);
  first();
  second();
  assert.deepEqual(sockets[0].sent.at(-1), { unsubscribe: ['nodes/+/report'] });
  assert.equal(live.latest.size, 0);
  live.stop();
});

test('waiting between attempts grows and has an end; a silent server is given up', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
  const { live, sockets } = connected();
  live.start();
  for (let i = 0; i < 8; i += 1) {
    sockets.at(-1).close();
    t.mock.timers.tick(15_000);
  }
  assert.equal(sockets.length, 9);
  sockets.at(-1).open();
  for (let i = 0; i < 10; i += 1) t.mock.timers.tick(10_000);
  assert.ok(sockets.length > 9);
  live.stop();
});

test('what is stopped while it connects is closed once it is there, and stays closed', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
  const { live, sockets } = connected();
  live.subscribe('queue', () => {});
  live.start();
  live.stop();
  assert.equal(sockets[0].readyState, WebSocket.CONNECTING);
  sockets[0].open();
  assert.equal(sockets[0].readyState, 3);
  assert.deepEqual(sockets[0].sent, []);
  t.mock.timers.tick(60_000);
  assert.equal(sockets.length, 1);
});

test('a portal that closes without a word is not connected to, and is asked less and less often', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
  const { live, sockets } = connected();
  const told = [];
  live.addEventListener('open', () => told.push('open'));
  live.addEventListener('close', (event) => told.push(event.detail.failures));
  live.start();
  for (let i = 0; i < 4; i += 1) {
    sockets.at(-1).open();
    assert.ok(!live.connected);
    sockets.at(-1).close();
    t.mock.timers.tick(15_000);
  }
  assert.deepEqual(told, [1, 2, 3, 4]);
  sockets.at(-1).open();
  live.subscribe('queue', () => {});
  assert.deepEqual(sockets.at(-1).sent, [{ subscribe: ['queue'] }]); // before a word came, too
  sockets.at(-1).say({ type: 'link', broker: true, hub: 'online' });
  assert.ok(live.connected);
  assert.deepEqual(told, [1, 2, 3, 4, 'open']);
  live.stop();
});

test('a connection that is taken and never says anything is given up', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
  const { live, sockets } = connected();
  const failures = [];
  live.addEventListener('close', (event) => failures.push(event.detail.failures));
  live.start(); // a proxy holds it: it neither opens nor closes
  for (let i = 0; i < 6; i += 1) t.mock.timers.tick(10_000);
  assert.deepEqual(failures.slice(0, 2), [1, 2]);
  sockets.at(-1).open();
  sockets.at(-1).say({ type: 'link', broker: true, hub: 'online' });
  const { length } = failures;
  for (let i = 0; i < 4; i += 1) {
    t.mock.timers.tick(10_000);
    sockets.at(-1).say({ type: 'pong' });
  }
  assert.equal(failures.length, length);
  live.stop();
});

test('what was retained before a loss is not taken for known after it', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
  const { live, sockets } = connected();
  const link = { type: 'link', broker: true, hub: 'online' };
  live.start();
  live.subscribe('nodes/+/channels', () => {});
  sockets[0].open();
  sockets[0].say(link);
  for (const node of ['a', 'b']) sockets[0].say({ type: 'snapshot', topic: `nodes/${node}/channels`, seq: 1, payload: {} });
  sockets[0].close();
  t.mock.timers.tick(500);
  sockets[1].open();
  sockets[1].say(link);
  sockets[1].say({ type: 'snapshot', topic: 'nodes/a/channels', seq: 2, payload: {} });
  const seen = [];
  live.subscribe('nodes/+/channels', ({ topic }) => seen.push(topic));
  assert.deepEqual(seen, ['nodes/a/channels'], 'b was removed meanwhile');
  live.stop();
});
