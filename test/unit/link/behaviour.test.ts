import { AsyncLocalStorage } from 'node:async_hooks';
import { afterEach, describe, expect, test } from 'vitest';
import type { LinkSession, Reply } from '../../../src/link/index.js';
import { type StubBrain, stubBrain } from '../../../src/testing/index.js';
import { append, eventText, helloPayload, rig } from './support.js';

let brain: StubBrain;
afterEach(() => brain.close());

const warnings = (lines: readonly string[]): string[] => lines.filter((line) => line.includes('warn'));

describe('what an operator is told', () => {
  test('a wrong token', async () => {
    brain = await stubBrain();
    await using on = rig({ url: brain.url, token: 'wrong', secret: brain.secret });
    on.link.start();
    await expect.poll(() => on.link.stats.authFailures, { timeout: 5000 }).toBeGreaterThan(2);
    expect(warnings(on.lines)).toHaveLength(1);
    expect(on.lines[0]).toContain('check Z4J_TOKEN');
  });

  test('a wrong secret', async () => {
    brain = await stubBrain();
    await using on = rig({ url: brain.url, token: brain.token, secret: Buffer.alloc(32) });
    append(on.journal, 3);
    on.link.start();
    await expect.poll(() => on.link.stats.authFailures, { timeout: 5000 }).toBeGreaterThan(2);
    expect(warnings(on.lines)).toHaveLength(1);
    expect(on.lines[0]).toContain('Z4J_HMAC_SECRET');
    expect(on.journal.confirmed).toBe(0);
  });

  test('a wrong secret, and a brain that speaks first', async () => {
    brain = await stubBrain();
    await using on = rig({ url: brain.url, token: brain.token, secret: Buffer.alloc(32) });
    on.link.start();
    await brain.until(() => brain.connections === 1);
    brain.send('novelty', {});
    await expect.poll(() => on.link.stats.authFailures, { timeout: 5000 }).toBeGreaterThan(0);
    expect(warnings(on.lines)).toEqual([expect.stringContaining('Z4J_HMAC_SECRET')]);
  });

  test.each([300_000, -300_000])('clocks that differ by %i ms', async (clockOffsetMs) => {
    brain = await stubBrain({ clockOffsetMs });
    await using on = rig(brain);
    append(on.journal, 3);
    on.link.start();
    await expect.poll(() => on.link.stats.authFailures, { timeout: 5000 }).toBeGreaterThan(1);
    expect(warnings(on.lines)).toHaveLength(1);
    expect(on.lines[0]).toContain(`300 s ${clockOffsetMs > 0 ? 'behind' : 'ahead of'} its own: synchronise the clocks`);
    brain.misbehave({ clockOffsetMs: 0 });
    await brain.until(() => brain.events.length === 3);
    await expect.poll(() => on.lines.at(-1)).toContain('info: connected to the brain');
  });

  test('clocks that differ a little', async () => {
    brain = await stubBrain({ clockOffsetMs: 20_000 });
    await using on = rig(brain);
    append(on.journal, 3);
    on.link.start();
    await brain.until(() => brain.events.length === 3);
    expect(warnings(on.lines)).toHaveLength(1);
    expect(on.link.stats.clockSkewMs).toBeGreaterThan(15_000);
  });

  test('a brain that cannot be reached: once, and once when it is back', async () => {
    brain = await stubBrain();
    const { token, secret, url } = brain;
    await brain.close();
    await using on = rig({ url, token, secret });
    append(on.journal, 3);
    on.link.start();
    await expect.poll(() => on.link.stats.connectionFailures, { timeout: 5000 }).toBeGreaterThan(3);
    expect(on.lines).toHaveLength(1);
    expect(on.lines[0]).toContain('ECONNREFUSED');
    brain = await stubBrain({ port: Number(new URL(url).port), token, secret });
    await brain.until(() => brain.events.length === 3);
    await expect.poll(() => on.lines.length).toBe(2);
    expect(on.lines[1]).toContain('info: connected to the brain');
  });

  test('nothing about one short interruption', async () => {
    brain = await stubBrain();
    await using on = rig(brain);
    on.link.start();
    await brain.until(() => brain.heartbeats.length > 0);
    append(on.journal, 3);
    await on.link.flush(1000);
    brain.disconnect(1012);
    await brain.until(() => brain.hellos.length === 2);
    expect(on.lines).toEqual([]);
  });
});

describe('results of commands', () => {
  test('made while there is no connection go out with the next one, and only once count', async () => {
    brain = await stubBrain();
    let reply: Reply | undefined;
    await using on = rig(brain, {
      onCommand: (_command, given) => {
        given.ack();
        reply = given;
      },
    });
    on.link.start();
    const outcome = brain.command({ action: 'cancel_task', delivery_claim_token: 'claim' });
    await expect.poll(() => reply).toBeDefined();
    brain.misbehave({ closeWith: 1012 });
    brain.drop();
    await expect.poll(() => on.link.stats.connectionFailures).toBeGreaterThan(1);
    reply?.result({ status: 'success', result: { first: true }, error: null });
    reply?.result({ status: 'failed', result: null, error: 'second' });
    brain.misbehave({ closeWith: undefined });
    await expect(outcome).resolves.toMatchObject({ status: 'success', result: { first: true } });
    await on.link.flush(1000);
    expect(brain.results).toHaveLength(1);
    expect(brain.results[0]?.payload).toMatchObject({ delivery_claim_token: 'claim' });
    // What a connection took may be lost with it: again on the next.
    brain.drop();
    await brain.until(() => brain.results.length === 2);
  });

  test('that are not JSON become a failure', async () => {
    brain = await stubBrain();
    await using on = rig(brain, {
      onCommand: (_command, reply) => reply.result({ status: 'success', result: { x: Number.NaN }, error: null }),
    });
    on.link.start();
    const outcome = await brain.command({ action: 'cancel_task' });
    expect(outcome).toMatchObject({ status: 'failed', error: expect.stringContaining('cannot be sent') });
  });

  test('overtake events', async () => {
    brain = await stubBrain({ eventsPerSecond: 1000 });
    await using on = rig(brain, {
      onCommand: (_command, reply) => reply.result({ status: 'success', result: null, error: null }),
    });
    append(on.journal, 5000);
    on.link.start();
    await brain.until(() => brain.events.length > 500);
    const begin = performance.now();
    await expect(brain.command({ action: 'cancel_task' })).resolves.toMatchObject({ status: 'success' });
    expect(performance.now() - begin).toBeLessThan(2500);
    expect(brain.events.length).toBeLessThan(5000);
  });
});

test('a new hello on demand, without sending anything twice', async () => {
  brain = await stubBrain();
  let engines = ['bullmq'];
  await using on = rig(brain, { hello: () => ({ ...helloPayload(), engines }) });
  on.link.start();
  await brain.until(() => brain.heartbeats.length > 0);
  append(on.journal, 1000);
  engines = ['bullmq', 'agenda'];
  on.link.reconnect('more engines');
  await brain.until(() => brain.hellos.length === 2);
  expect(brain.hellos[1]?.engines).toEqual(engines);
  await on.link.flush(3000);
  expect(brain.events).toHaveLength(1000);
  expect(brain.counts.rejected).toBe(0);
});

test('heartbeats keep their cadence when figures are late, one at a time', async () => {
  brain = await stubBrain({ heartbeatSeconds: 1 });
  let running = 0;
  let most = 0;
  let aborted = 0;
  await using on = rig(brain, {
    heartbeat: (signal) => {
      most = Math.max(most, ++running);
      return new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          running--;
          aborted++;
          reject(new Error('late'));
        });
      });
    },
  });
  append(on.journal, 1);
  on.link.start();
  await brain.until(() => brain.heartbeats.length === 3, 6000);
  expect(most).toBe(1);
  expect(aborted).toBeGreaterThan(1);
  expect(brain.heartbeats.at(-1)).toMatchObject({ buffer_size: 0, adapter_health: {}, telemetry_loss: null });
  expect(brain.statuses[0]).toMatchObject({ agent_version: '1.13.0+node.0.1.0', engines: ['bullmq'] });
});

test('figures of the agent stand in the heartbeat', async () => {
  brain = await stubBrain();
  await using on = rig(brain, {
    heartbeat: async () => ({
      adapter_health: {
        'bullmq.queue_depths': '{"img":3}',
        'bullmq.worker_details': '{"img@host-1":{"stats":{"pool":{"max-concurrency":4}}}}',
      },
    }),
  });
  on.link.start();
  await brain.until(() => brain.queues().includes('img'));
  expect(brain.workers()).toMatchObject([{ name: 'img@host-1', concurrency: 4, reported: false }]);
});

test('events beside the journal are acked to their sender, or rejected with the connection', async () => {
  brain = await stubBrain();
  let session: LinkSession | undefined;
  await using on = rig(brain, {
    onSession: (now) => {
      session = now;
    },
  });
  on.link.start();
  await expect.poll(() => session).toBeDefined();
  const text = Buffer.from(eventText('one'));
  await expect(session?.sendEvents([text])).resolves.toEqual({ received: 1, accepted: 1, rejected: 0 });
  await expect(session?.sendEvents([text])).resolves.toEqual({ received: 1, accepted: 0, rejected: 1 });
  brain.misbehave({ noAck: true });
  const lost = session?.sendEvents([Buffer.from(eventText('two'))]);
  const before = session;
  brain.drop();
  await expect(lost).rejects.toMatchObject({ name: 'LinkError', code: 'lost' });
  await expect(before?.sendEvents([text])).rejects.toMatchObject({ code: 'lost' });
});

describe('leaving', () => {
  test('does not wait for a brain that cannot be reached', async () => {
    brain = await stubBrain();
    const { token, secret, url } = brain;
    await brain.close();
    await using on = rig({ url, token, secret });
    append(on.journal, 3);
    on.link.start();
    await expect.poll(() => on.link.state).toBe('waiting');
    const begin = performance.now();
    await on.link.stop({ timeoutMs: 5000 });
    expect(performance.now() - begin).toBeLessThan(1500);
    expect(on.link.state).toBe('stopped');
  });

  test('waits at most as long as told for a brain that does not ack', async () => {
    brain = await stubBrain({ noAck: true });
    await using on = rig(brain);
    append(on.journal, 3);
    on.link.start();
    await brain.until(() => brain.events.length === 3);
    const begin = performance.now();
    await on.link.stop({ timeoutMs: 500 });
    expect(performance.now() - begin).toBeLessThan(1500);
    expect(on.journal.confirmed).toBe(0);
  });

  test('before the first connection stands sends what was captured', async () => {
    brain = await stubBrain();
    await using on = rig(brain);
    on.link.start();
    append(on.journal, 3);
    await on.link.stop();
    expect(brain.events).toHaveLength(3);
  });

  test('an attempt under way stops with it', async () => {
    brain = await stubBrain({ noHelloAck: true });
    await using on = rig(brain);
    on.link.start();
    await on.link.stop({ timeoutMs: 200 });
    expect(on.link.state).toBe('stopped');
    await expect(on.link.flush(100)).resolves.toBe(true);
  });
});

test('nothing of ours runs in a context of the host', async () => {
  brain = await stubBrain();
  const store = new AsyncLocalStorage<string>();
  const seen: (string | undefined)[] = [];
  await store.run('request of the host', async () => {
    await using on = rig(brain, {
      hello: () => {
        seen.push(store.getStore());
        return helloPayload();
      },
      heartbeat: async () => {
        seen.push(store.getStore());
        return {};
      },
      onCommand: (_command, reply) => {
        seen.push(store.getStore());
        reply.result({ status: 'success', result: null, error: null });
      },
    });
    on.link.start();
    append(on.journal, 3);
    await brain.command({ action: 'cancel_task' });
    await on.link.flush(1000);
  });
  expect(seen.length).toBeGreaterThan(2);
  expect(new Set(seen)).toEqual(new Set([undefined]));
});

test('nothing of ours is traced', async () => {
  brain = await stubBrain();
  const KEY = Symbol.for('opentelemetry.js.api.1');
  const globals = globalThis as { [key: symbol]: unknown };
  const before = globals[KEY];
  const SUPPRESS = Symbol.for('OpenTelemetry SDK Context Key SUPPRESS_TRACING');
  const storage = new AsyncLocalStorage<Map<symbol, unknown>>();
  const contextOf = (values: Map<symbol, unknown>) => ({
    values,
    setValue: (key: symbol, value: unknown) => contextOf(new Map([...values, [key, value]])),
  });
  globals[KEY] = {
    context: {
      active: () => contextOf(storage.getStore() ?? new Map()),
      with: <T>(context: { values: Map<symbol, unknown> }, fn: () => T) => storage.run(context.values, fn),
    },
  };
  try {
    const seen: unknown[] = [];
    const look = (): void => void seen.push(storage.getStore()?.get(SUPPRESS));
    await using on = rig(brain, {
      hello: () => {
        look();
        return helloPayload();
      },
      heartbeat: async () => {
        look();
        return {};
      },
    });
    on.link.start();
    await brain.until(() => brain.heartbeats.length > 0);
    brain.drop();
    await brain.until(() => brain.heartbeats.length > 1);
    expect(seen.length).toBeGreaterThanOrEqual(4);
    expect(new Set(seen)).toEqual(new Set([true]));
  } finally {
    globals[KEY] = before;
  }
});
