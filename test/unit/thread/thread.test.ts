import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Agent } from '../../../src/agent.js';
import type { Engine, EngineHost } from '../../../src/engine.js';
import { hub } from '../../../src/hub.js';
import { type StubBrain, stubBrain } from '../../../src/testing/index.js';
import { claim, newClaim } from '../../../src/thread/messages.js';

vi.mock('../../../src/thread/entry.js', () => import('./worker.js'));

/** Runs what it is told, slowly when asked to. */
class FakeEngine implements Engine {
  readonly version = '1.0.0';
  readonly executed: unknown[] = [];
  release: (() => void) | undefined;
  constructor(readonly name: string) {}
  actions() {
    return ['cancel_task' as const];
  }
  inventory() {
    return { queues: [], tasks: [], workers: [] };
  }
  start(_: EngineHost) {}
  stop() {}
  async execute({ parameters }: { readonly parameters: { readonly task_id?: unknown } }) {
    this.executed.push(parameters.task_id);
    if (parameters.task_id === 'slow') {
      await new Promise<void>((resolve) => {
        this.release = resolve;
      });
    }
    return { done: true };
  }
  run(taskId: string) {
    const data = { task_name: 'send', queue: 'mail' };
    hub.record({ kind: 'task.received', engine: this.name, taskId, occurredAt: Date.now(), data });
  }
}

let stub: StubBrain;
let home: string;
let lines: string[];
let threads: Worker[];
let agent: Agent | undefined;
const onThread = (worker: Worker): void => void threads.push(worker);

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'z4j-thread-'));
  stub = await stubBrain({ heartbeatSeconds: 1 });
  lines = [];
  threads = [];
  process.on('worker', onThread);
  vi.spyOn(process.stderr, 'write').mockImplementation((line) => {
    lines.push(String(line));
    return true;
  });
});

afterEach(async () => {
  await agent?.stop();
  agent = undefined;
  await stub.close();
  vi.restoreAllMocks();
  process.off('worker', onThread);
  hub.recorder = undefined;
  hub.engines.clear();
  rmSync(home, { recursive: true, force: true });
});

async function start(engine: FakeEngine, more: object = {}): Promise<Agent> {
  const { Z4J_TOKEN: token, Z4J_HMAC_SECRET: hmacSecret, Z4J_BRAIN_URL: brainUrl } = stub.env;
  const options = { token, hmacSecret, brainUrl, agentName: 'h', serviceName: 's', home, thread: true, ...more };
  agent = await new Agent(options as object).registerEngine(engine).start();
  await stub.until(() => stub.connections === 1, 10_000);
  return agent;
}

const arrived = (taskId: string) => stub.waitFor({ taskId }, 10_000);
const cancel = (taskId: string) =>
  stub.command({
    action: 'cancel_task',
    target: { type: 'task', id: taskId },
    parameters: { engine: 'bullmq', task_id: taskId },
  });

describe('a thread that ends', () => {
  test('is started again once, then its work is done here; what was captured arrives each time', async () => {
    const engine = new FakeEngine('bullmq');
    await start(engine);
    engine.run('one');
    await arrived('one');

    for (const [n, id] of [
      [1, 'two'],
      [2, 'three'],
    ] as const) {
      await threads[n - 1]?.terminate();
      engine.run(id);
      await arrived(id);
      expect(lines.filter((line) => line.includes('the thread of the agent'))).toHaveLength(n);
    }
    expect(threads).toHaveLength(2);
    expect(lines[0]).toMatch(/^z4j: warn: the thread of the agent ended \(code 1\); it was started again\n$/);
    expect(lines[1]).toMatch(/ended again \(code 1\): this one does its work/);
    expect(await cancel('x')).toMatchObject({ status: 'success' });
    expect(await agent?.flush(5000)).toBe(true);
    expect(agent?.status().link).toMatchObject({ state: 'connected', transport: 'ws' });
    expect(stub.events.filter(({ taskId }) => taskId !== '').map(({ taskId }) => taskId)).toEqual([
      'one',
      'two',
      'three',
    ]);
  });

  test('leaves the result of a command that is under way to the next', async () => {
    const engine = new FakeEngine('bullmq');
    await start(engine);
    const outcome = cancel('slow');
    await vi.waitUntil(() => engine.release !== undefined);
    await threads[0]?.terminate();
    await stub.until(() => stub.hellos.length === 2, 10_000);
    engine.release?.();
    expect(await outcome).toMatchObject({ status: 'success', result: { done: true } });
    expect(engine.executed).toEqual(['slow']);
  });
});

test('without a disk events travel from memory to the thread, and to the one after it', async () => {
  const file = join(home, 'file');
  writeFileSync(file, '');
  const engine = new FakeEngine('bullmq');
  await start(engine, { home: file });
  engine.run('one');
  await arrived('one');
  expect(await agent?.flush(5000)).toBe(true);
  await threads[0]?.terminate();
  engine.run('two');
  await arrived('two');
  expect(await agent?.flush(5000)).toBe(true);
  expect(agent?.status().journal).toMatchObject({ records: 0, lost: 0 });
  expect(lines[0]).toContain('events are kept in memory');
});

test('a new engine is told with a new hello, a twin makes way under another name', async () => {
  await start(new FakeEngine('bullmq'));
  agent?.registerEngine(new FakeEngine('agenda'));
  await stub.until(() => stub.hellos.length === 2, 10_000);
  expect(stub.hellos[1]?.engines).toEqual(['bullmq', 'agenda']);
  stub.disconnect(4002);
  await stub.until(() => stub.hellos.length === 3, 15_000);
  expect(stub.hellos.map(({ workerId }) => workerId)).toEqual(['s-h-0', 's-h-0', 's-h-0~2']);
});

test('speaks long-poll as well', async () => {
  const engine = new FakeEngine('bullmq');
  await start(engine, { transport: 'longpoll' });
  engine.run('one');
  await arrived('one');
  expect(await cancel('x')).toMatchObject({ status: 'success', result: { done: true } });
  expect(agent?.status().link).toMatchObject({ transport: 'longpoll' });
});

test('its lines come out of the log of the host, each cause once', async () => {
  const engine = new FakeEngine('bullmq');
  await start(engine, { logLevel: 'info', logFormat: 'json' });
  await stub.close();
  await vi.waitUntil(() => lines.length > 0, { timeout: 10_000 });
  await vi.waitUntil(() => (agent?.status().link?.connectionFailures ?? 0) >= 2, { timeout: 15_000 });
  const told = lines.map((line) => JSON.parse(line) as { level: string; message: string });
  expect(told.filter(({ level }) => level === 'warn')).toHaveLength(1);
  expect(told[0]).toMatchObject({ name: 'z4j', message: expect.stringContaining('events are kept') });
});

test('a claim has one owner', () => {
  const shared = newClaim();
  expect([claim(shared), claim(shared)]).toEqual([true, false]);
});
