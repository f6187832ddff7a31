import { once } from 'node:events';
import { afterEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { canonical, FrameWriter, hello, readHelloAck, Signer } from '../../../src/protocol/index.js';
import { type StubBrain, StubTimeoutError, stubBrain } from '../../../src/testing/index.js';
import { test as withBrain } from '../../../src/testing/vitest.js';
import { helloPayload } from '../link/support.js';

let brain: StubBrain;
const sockets: WebSocket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.terminate();
  await brain?.close();
});

async function open(token = brain.token): Promise<WebSocket> {
  const socket = new WebSocket(`${brain.url.replace('http', 'ws')}/ws/agent`, {
    headers: { authorization: `Bearer ${token}` },
  });
  sockets.push(socket);
  await once(socket, 'open');
  return socket;
}

/** An agent written by hand. */
async function agent({ now, secret = brain.secret }: { now?: () => number; secret?: Buffer } = {}) {
  const socket = await open();
  const messages: Buffer[] = [];
  socket.on('message', (data: Buffer) => messages.push(data));
  socket.send(hello(helloPayload(`worker-${sockets.length}`)));
  await once(socket, 'message');
  const { payload } = readHelloAck(messages[0] as Buffer);
  const ids = { agentId: payload.agent_id, projectId: payload.project_id, sessionId: payload.session_id };
  const writer = new FrameWriter(new Signer(secret, ids), { now, maxBytes: 1e7 });
  return { socket, writer, messages };
}

const closing = async (socket: WebSocket): Promise<number> => (await once(socket, 'close'))[0] as number;

const heartbeat = {
  buffer_size: 0,
  last_flush_at: null,
  dropped_events: 0,
  adapter_health: {},
  telemetry_loss: null,
};

let number = 0;
function event(kind: string, taskId: string, at: number, data: object = {}): Buffer {
  return Buffer.from(
    canonical({
      id: `00000000-0000-4000-8000-${String(++number).padStart(12, '0')}`,
      kind,
      engine: 'bullmq',
      task_id: taskId,
      occurred_at: new Date(at).toISOString(),
      data,
    }),
  );
}

describe('as strict as a brain', () => {
  test('hello', async () => {
    brain = await stubBrain();
    const refused = async (payload: object): Promise<number> => {
      const socket = await open();
      socket.send(JSON.stringify({ v: 2, type: 'hello', id: 'h', ts: null, payload }));
      return closing(socket);
    };
    const good = helloPayload();
    expect(await refused({ ...good, protocol_version: '3' })).toBe(4426);
    expect(await refused({ ...good, protocol_version: 2 })).toBe(4400);
    expect(await refused({ ...good, framework: 'x'.repeat(41) })).toBe(4400);
    expect(await refused({ ...good, engines: Array.from({ length: 65 }, String) })).toBe(4400);
    expect(await refused({ ...good, worker_id: 'x'.repeat(129) })).toBe(4400);
    const socket = await open();
    socket.send('{"v":2,"type":"heartbeat","id":"x","payload":{}}');
    expect(await closing(socket)).toBe(4400);
    expect(await closing(await open('wrong'))).toBe(4401);
  });

  test.each<[string, number, (writer: FrameWriter) => Buffer]>([
    ['not JSON', 1011, () => Buffer.from('{')],
    ['an unknown type', 1011, (writer) => writer.frame('goodbye', 'x', {})],
    ['an unknown status', 1011, (writer) => writer.frame('command_result', 'x', { status: 'ok' })],
    ['a bad telemetry_loss', 1011, (writer) => writer.frame('heartbeat', 'x', { telemetry_loss: { a: 1 } })],
    ['a frame that is too large', 4400, (writer) => writer.frame('heartbeat', 'x', { x: 'x'.repeat(1024 * 1024) })],
  ])('%s closes with %i', async (_name, code, build) => {
    brain = await stubBrain();
    const { socket, writer } = await agent();
    socket.send(build(writer));
    expect(await closing(socket)).toBe(code);
  });

  test('signature, sequence and clock close with 4403', async () => {
    brain = await stubBrain();
    const wrong = await agent({ secret: Buffer.alloc(32) });
    wrong.socket.send(wrong.writer.heartbeat(heartbeat));
    expect(await closing(wrong.socket)).toBe(4403);
    const late = await agent({ now: () => Date.now() - 70_000 });
    late.socket.send(late.writer.heartbeat(heartbeat));
    expect(await closing(late.socket)).toBe(4403);
    const twice = await agent();
    const frame = twice.writer.heartbeat(heartbeat);
    twice.socket.send(frame);
    twice.socket.send(frame);
    expect(await closing(twice.socket)).toBe(4403);
    expect(brain.heartbeats).toHaveLength(1);
  });

  test('a frame that is spelled in another way is as good', async () => {
    brain = await stubBrain();
    const { socket, writer } = await agent();
    const frame = JSON.parse(writer.heartbeat(heartbeat).toString()) as object;
    socket.send(JSON.stringify(frame, null, 1));
    await brain.until(() => brain.heartbeats.length === 1);
  });
});

describe('projects tasks like a brain', () => {
  async function send(...events: Buffer[]): Promise<void> {
    const { socket, writer } = await agent();
    socket.send(writer.eventBatch('ev', events));
    await once(socket, 'message');
  }
  const t = Date.now() - 60_000;

  test('a life from received to success', async () => {
    brain = await stubBrain();
    await send(
      event('task.sent', 'a', t, { task_name: 'send' }),
      event('task.received', 'a', t, { task_name: 'send', queue: 'mail', args: [1], priority: 'high' }),
      event('task.started', 'a', t + 10, { worker: 'w@1' }),
      event('task.retried', 'a', t + 20, { retry_count: 1, exception: 'E' }),
      event('task.started', 'a', t + 1000, { worker: 'w@1' }),
      event('task.succeeded', 'a', t + 1500, { result: { ok: true }, runtime_ms: '12.9', worker: 'w@1' }),
    );
    expect(brain.task('a')).toMatchObject({
      name: 'send',
      queue: 'mail',
      state: 'success',
      args: [1],
      priority: 'high',
      workerName: 'w@1',
      retryCount: 1,
      result: { ok: true },
      runtimeMs: 12,
      exception: null,
    });
    expect(brain.workers()).toMatchObject([{ name: 'w@1', reported: false }]);
    expect(brain.queues()).toEqual(['mail']);
    expect(brain.counts).toMatchObject({ events: 6, accepted: 6, rejected: 0, largestFrame: 6 });
  });

  test('sent and rejected make no row; a lone start does', async () => {
    brain = await stubBrain();
    await send(event('task.sent', 'a', t), event('task.rejected', 'b', t), event('task.started', 'c', t));
    expect(brain.tasks().map((task) => [task.taskId, task.state, task.name])).toEqual([['c', 'started', 'unknown']]);
  });

  test('what is older than the row, or comes after its end, changes nothing', async () => {
    brain = await stubBrain();
    await send(
      event('task.started', 'a', t + 5000),
      event('task.received', 'a', t, { args: [1] }),
      event('task.failed', 'b', t + 5000, { exception: 'E', traceback: 'T' }),
      event('task.started', 'b', t + 6000),
      event('task.succeeded', 'b', t + 4000),
      event('task.succeeded', 'c', t + 5000, { result: 1 }),
      event('task.failed', 'c', t + 6000, { exception: 'later' }),
    );
    expect(brain.task('a')).toMatchObject({ state: 'started', args: null });
    expect(brain.task('b')).toMatchObject({ state: 'failure', exception: 'E', traceback: 'T' });
    expect(brain.task('c')).toMatchObject({ state: 'failure', result: null, exception: 'later' });
  });

  test('one kind within one second counts once, an id of another event once', async () => {
    brain = await stubBrain();
    const second = Math.floor(t / 1000) * 1000;
    const online = event('worker.online', '', second, { worker: 'w@1' });
    await send(
      event('task.retried', 'a', second + 1, { retry_count: 1 }),
      event('task.retried', 'a', second + 999, { retry_count: 2 }),
      event('task.retried', 'a', second + 1000, { retry_count: 3 }),
      online,
      online,
      Buffer.from('1'),
      Buffer.from('{"engine":" ","kind":"task.sent"}'),
    );
    expect(brain.counts).toMatchObject({ events: 7, accepted: 3, rejected: 4 });
    expect(brain.task('a')).toMatchObject({ retryCount: 3 });
    expect(brain.workers()).toMatchObject([{ name: 'w@1', reported: true }]);
    expect(brain.events.map((each) => each.eventType)).toEqual(['task_retried', 'task_retried', 'worker_online']);
  });

  test('counts only, when told so', async () => {
    brain = await stubBrain({ record: false });
    await send(event('task.started', 'a', t));
    expect(brain.counts.accepted).toBe(1);
    expect(brain.tasks()).toEqual([]);
  });
});

describe('for the one who tests', () => {
  test('waitFor takes a pattern or a predicate, and says what came instead', async () => {
    brain = await stubBrain();
    const { socket, writer } = await agent();
    const waiting = brain.waitFor({ eventType: 'task_started', data: { queue: 'mail' } });
    socket.send(
      writer.eventBatch('ev', [
        event('task.started', 'a', Date.now(), { queue: 'other' }),
        event('task.started', 'b', Date.now(), { queue: 'mail' }),
      ]),
    );
    await expect(waiting).resolves.toMatchObject({ taskId: 'b', kind: 'task.started' });
    await expect(brain.waitFor((each) => each.taskId === 'a')).resolves.toMatchObject({ data: { queue: 'other' } });
    const failure = brain.waitFor({ taskId: 'c' }, 20);
    await expect(failure).rejects.toThrow(StubTimeoutError);
    await expect(failure).rejects.toThrow(/2 events came, the last: task.started a, task.started b; 1 hellos/);
  });

  test('a command without an answer times out, one without an agent waits for one', async () => {
    brain = await stubBrain();
    const early = brain.command({ action: 'cancel_task' });
    const { socket, writer, messages } = await agent();
    await expect.poll(() => messages.length).toBe(2);
    const command = JSON.parse(String(messages[1])) as { id: string; payload: object };
    expect(command.payload).toMatchObject({ action: 'cancel_task', issued_by: null, delivery_claim_token: null });
    socket.send(writer.commandAck(command.id));
    socket.send(writer.commandResult(command.id, { status: 'failed', result: null, error: 'no' }));
    await expect(early).resolves.toEqual({ status: 'failed', result: null, error: 'no', acknowledged: true });
    await expect(brain.command({ action: 'x' }, { timeoutMs: 20 })).resolves.toMatchObject({
      status: 'timeout',
      acknowledged: false,
    });
  });

  test('a twin closes the older connection with 4002', async () => {
    brain = await stubBrain();
    const first = await open();
    first.send(hello(helloPayload('same')));
    await once(first, 'message');
    const second = await open();
    second.send(hello(helloPayload('same')));
    expect(await closing(first)).toBe(4002);
    expect(brain.connections).toBe(1);
    expect(brain.agents).toMatchObject([{ state: 'online', hello: { workerId: 'same' } }]);
  });

  test('the environment for a child', async () => {
    brain = await stubBrain({ prefix: '/z4j' });
    expect(brain.env).toEqual({
      Z4J_BRAIN_URL: brain.url,
      Z4J_TOKEN: brain.token,
      Z4J_HMAC_SECRET: brain.secret.toString('base64url'),
      Z4J_PROJECT_ID: 'default',
    });
    expect(brain.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/z4j$/);
    await expect(stubBrain({ port: Number(new URL(brain.url).port) })).rejects.toThrow('EADDRINUSE');
  });
});

withBrain('the vitest fixture gives each test a brain', async ({ brain: own }) => {
  const answer = await fetch(own.url);
  expect(answer.status).toBe(404);
  expect(own.events).toEqual([]);
});
