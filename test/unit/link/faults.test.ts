import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { memoryJournal } from '../../../src/journal/memory.js';
import { type StubBrain, stubBrain } from '../../../src/testing/index.js';
import { append, eventText, helloPayload, rig } from './support.js';

let brain: StubBrain;
afterEach(() => brain.close());

const taskIds = (): string[] => brain.events.map((event) => event.taskId);
const expected = (count: number): string[] => Array.from({ length: count }, (_, i) => `mail:${i}`);

describe('a record the brain does not take', () => {
  test.each([1011, 4400, 4403])('is found by halving and given up: %i', async (code) => {
    brain = await stubBrain({
      refuseEvent: (event) => (event.task_id === 'mail:337' ? code : undefined),
    });
    await using on = rig(brain, { backoff: { scale: 0.001 } });
    append(on.journal, 600);
    on.link.start();
    await brain.until(() => brain.events.length === 599, 15_000);
    await on.link.flush(2000);
    expect(on.journal.confirmed).toBe(600);
    expect(on.link.stats.givenUp).toBe(1);
    expect(taskIds()).toEqual(expected(600).filter((id) => id !== 'mail:337'));
    expect(on.lines.filter((line) => line.includes('given up'))).toHaveLength(1);
  });

  test('is kept when it is the only one, and when the brain refuses everything', async () => {
    brain = await stubBrain({ refuseEvent: () => 1011 });
    await using on = rig(brain, { backoff: { scale: 0.001 } });
    append(on.journal, 20);
    on.link.start();
    await brain.until(() => brain.refusals.length > 25, 15_000);
    brain.misbehave({ refuseEvent: undefined });
    await brain.until(() => brain.events.length === 20);
    brain.misbehave({ refuseEvent: () => 1011 });
    append(on.journal, 20, 'later');
    await brain.until(() => brain.refusals.length > 50, 15_000);
    brain.misbehave({ refuseEvent: undefined });
    await brain.until(() => brain.events.length === 40);
    expect(on.link.stats.givenUp).toBe(0);
    expect(taskIds().slice(20)).toEqual(expected(20).map((id) => id.replace('mail', 'later')));
  });

  test('is given up at once when it is larger than a frame may be', async () => {
    brain = await stubBrain({ maxFrameBytes: 10_000 });
    await using on = rig(brain);
    append(on.journal, 50);
    on.journal.append(eventText('large', 'task.sent', `"args":["${'x'.repeat(20_000)}"],`), { kind: 0, task: 0 });
    on.link.start();
    await brain.until(() => brain.events.length === 50);
    await on.link.flush(2000);
    expect(on.journal.confirmed).toBe(51);
    expect(brain.refusals).toEqual([]);
  });
});

describe('acks', () => {
  test.each([
    ['duplicated', { duplicateAcks: true }],
    ['for unknown frames', { unknownAcks: true }],
    ['out of order', { reverseAcks: 2 }],
    ['slow', { slowAckMs: 50 }],
  ])('%s do no harm', async (_name, behaviour) => {
    brain = await stubBrain(behaviour);
    await using on = rig(brain);
    append(on.journal, 600);
    on.link.start();
    await brain.until(() => brain.events.length === 600);
    await expect(on.link.flush(3000)).resolves.toBe(true);
    expect(brain.counts.rejected).toBe(0);
  });

  test('that never come end the connection, and everything is sent again', async () => {
    brain = await stubBrain({ noAck: true });
    await using on = rig(brain, { times: { ack: 200 } });
    append(on.journal, 400);
    on.link.start();
    await brain.until(() => brain.hellos.length > 1);
    expect(on.journal.confirmed).toBe(0);
    brain.misbehave({ noAck: false });
    await expect(on.link.flush(5000)).resolves.toBe(true);
    expect(taskIds()).toEqual(expected(400));
  });

  test('that come while more is appended keep the order', async () => {
    brain = await stubBrain({ eventsPerSecond: 2000 });
    await using on = rig(brain);
    on.link.start();
    for (let i = 0; i < 1000; i += 10) {
      for (let n = i; n < i + 10; n++) on.journal.append(eventText(`mail:${n}`), { kind: 0, task: n });
      await new Promise(setImmediate);
    }
    await brain.until(() => brain.events.length === 1000);
    expect(taskIds()).toEqual(expected(1000));
  });
});

describe('every end of a connection is survived', () => {
  test.each([1000, 1001, 1011, 1012, 4002, 4003, 4400, 4401, 4403, 4408, 4426, 4427, 4429])('%i', async (code) => {
    brain = await stubBrain({ closeWith: code });
    await using on = rig(brain, { backoff: { scale: 0.0001 } });
    append(on.journal, 10);
    on.link.start();
    await expect.poll(() => on.link.state).toBe('waiting');
    brain.misbehave({ closeWith: undefined });
    await brain.until(() => brain.events.length === 10);
  });

  test.each([1011, 1012, 4408, 4429, 4003, undefined])('%s in the middle of the work', async (code) => {
    brain = await stubBrain({ eventsPerSecond: 5000 });
    await using on = rig(brain, { backoff: { scale: 0.001 } });
    append(on.journal, 1500);
    on.link.start();
    await brain.until(() => brain.events.length > 300);
    if (code === undefined) brain.drop();
    else brain.disconnect(code);
    await brain.until(() => brain.events.length === 1500, 10_000);
    expect(taskIds()).toEqual(expected(1500));
    await on.link.flush(2000);
    expect(on.link.stats.givenUp).toBe(0);
  });
});

describe('frames of the brain that cannot be trusted', () => {
  test.each([
    ['a wrong signature', () => brain.misbehave({ wrongSignature: true })],
    ['a replayed frame', () => brain.misbehave({ replay: true })],
  ])('%s ends the connection', async (_name, begin) => {
    brain = await stubBrain();
    await using on = rig(brain);
    on.link.start();
    await brain.until(() => brain.heartbeats.length > 0);
    begin();
    append(on.journal, 10);
    await brain.until(() => brain.hellos.length > 1);
    brain.misbehave({ wrongSignature: false, replay: false });
    await expect(on.link.flush(3000)).resolves.toBe(true);
    expect(brain.events).toHaveLength(10);
  });

  test.each([
    ['text that is not JSON', 'nonsense'],
    ['an unsigned command', '{"v":2,"type":"command","id":"x","payload":{"action":"purge_queue"}}'],
    ['5 MiB', 'x'.repeat(5 * 1024 * 1024)],
  ])('%s ends the connection', async (_name, text) => {
    brain = await stubBrain();
    let commands = 0;
    await using on = rig(brain, { onCommand: () => void commands++ });
    on.link.start();
    await brain.until(() => brain.heartbeats.length > 0);
    brain.sendRaw(text);
    await brain.until(() => brain.hellos.length > 1);
    append(on.journal, 10);
    await expect(on.link.flush(3000)).resolves.toBe(true);
    expect(commands).toBe(0);
  });

  test('a signed frame of an unknown kind is ignored', async () => {
    brain = await stubBrain();
    await using on = rig(brain);
    on.link.start();
    await brain.until(() => brain.heartbeats.length > 0);
    brain.send('novelty', { any: 1.5 });
    append(on.journal, 10);
    await expect(on.link.flush(3000)).resolves.toBe(true);
    expect(brain.hellos).toHaveLength(1);
  });
});

test('a twin with our worker id: another id is chosen', async () => {
  brain = await stubBrain();
  let suffix = 0;
  await using on = rig(brain, { hello: () => helloPayload(`node-${suffix}`), onReplaced: () => void suffix++ });
  await using twin = rig(brain, { hello: () => helloPayload('node-0') });
  on.link.start();
  await brain.until(() => brain.connections === 1);
  twin.link.start();
  await brain.until(() => brain.hellos.length === 3);
  expect(brain.hellos.map((hello) => hello.workerId)).toEqual(['node-0', 'node-0', 'node-1']);
  expect(brain.connections).toBe(2);
});

test.each([100, 0])(
  'a brain that vanishes without a word is missed, and the next has everything (%i events)',
  async (count) => {
    brain = await stubBrain();
    const pairs: [Socket, Socket][] = [];
    let stalled = false;
    const proxy = createServer((client) => {
      const upstream = connect(Number(new URL(brain.url).port), '127.0.0.1');
      pairs.push([client, upstream]);
      client.on('data', (chunk) => stalled || upstream.write(chunk));
      upstream.on('data', (chunk) => stalled || client.write(chunk));
      client.on('error', () => undefined).on('close', () => upstream.destroy());
      upstream.on('error', () => undefined).on('close', () => client.destroy());
    }).listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    const { port } = proxy.address() as { port: number };
    await using on = rig(
      { url: `http://127.0.0.1:${port}`, token: brain.token, secret: brain.secret },
      {
        times: { ack: 300 },
      },
    );
    on.link.start();
    await brain.until(() => brain.heartbeats.length > 0);
    stalled = true;
    append(on.journal, count);
    await expect.poll(() => pairs.length).toBeGreaterThan(0);
    await expect.poll(() => on.link.state, { timeout: 3000 }).not.toBe('connected');
    stalled = false;
    for (const [client] of pairs) client.destroy();
    await brain.until(() => brain.hellos.length === 2 && brain.events.length === count);
    proxy.close();
  },
);

test('an evicted beginning of the journal is skipped', async () => {
  brain = await stubBrain({ noAck: true });
  const journal = memoryJournal({ maxBytes: 40_000 });
  await using on = rig(brain, { journal, times: { ack: 200 } });
  append(journal, 100);
  on.link.start();
  await brain.until(() => brain.events.length === 100);
  append(journal, 500, 'later');
  brain.misbehave({ noAck: false });
  await expect(on.link.flush(5000)).resolves.toBe(true);
  expect(journal.confirmed).toBe(600);
  expect(brain.events.at(-1)?.taskId).toBe('later:499');
});
