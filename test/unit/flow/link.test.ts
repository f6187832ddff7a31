import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Dispatcher } from '../../../src/dispatcher.js';
import type { EventKind } from '../../../src/engine.js';
import { Flow, type FlowOptions } from '../../../src/flow/flow.js';
import { Watch } from '../../../src/flow/watch.js';
import { openJournal } from '../../../src/journal/durable.js';
import type { Journal } from '../../../src/journal/journal.js';
import { memoryJournal } from '../../../src/journal/memory.js';
import { createLog } from '../../../src/log.js';
import { Redactor } from '../../../src/redactor.js';
import { type StubBrain, stubBrain } from '../../../src/testing/index.js';
import { rig } from '../link/support.js';

type Options = Partial<Pick<FlowOptions, 'share' | 'windowMs' | 'holdMs'>> & { readonly journal?: Journal };

/** A host with the way from capture to brain. */
function host(brain: StubBrain, { journal = memoryJournal({ maxBytes: 1 << 28 }), ...options }: Options = {}) {
  const lines: string[] = [];
  const log = createLog({ level: 'info', write: (line) => lines.push(line) });
  const watch: Watch = new Watch((...note) => flow.note(...note));
  const flow = new Flow({
    windowMs: 1000,
    log,
    onWatch: (on) => {
      watch.on = on;
    },
    ...options,
  });
  const { link, ...rest } = rig(brain, { journal, log, selection: flow });
  const dispatcher = new Dispatcher({ journal, redactor: new Redactor(), identity: { workerName: () => 'w' } });
  dispatcher.watch = watch;
  const tell = (kind: EventKind, taskId: string, data: object = {}): void =>
    dispatcher.record({
      kind,
      engine: 'bullmq',
      taskId,
      occurredAt: Date.now(),
      data: { task_name: 'send', queue: 'mail', ...data },
    });
  let number = 0;
  const failed: string[] = [];
  return {
    link,
    lines,
    failed,
    tell,
    dispatcher,
    /** Tasks of four events each, every fiftieth fails; `perSecond` events for `seconds`. */
    async work(perSecond: number, seconds: number): Promise<void> {
      const begin = performance.now();
      const open: string[] = [];
      for (let made = 0; ; await delay(20)) {
        const now = performance.now() - begin;
        if (now >= seconds * 1000) break;
        for (; made < (perSecond * now) / 4000; made++) {
          const id = `mail:${number++}`;
          tell('task.sent', id);
          tell('task.received', id, { args: [number] });
          tell('task.started', id);
          open.push(id);
        }
        for (const id of open.splice(0)) {
          const fails = Number(id.slice(5)) % 50 === 7;
          if (fails) failed.push(id);
          tell(fails ? 'task.failed' : 'task.succeeded', id, fails ? { exception: 'Error: no' } : { runtime_ms: 5 });
        }
      }
    },
    [Symbol.asyncDispose]: () => rest[Symbol.asyncDispose](),
  };
}

const kindsOf = (brain: StubBrain): Map<string, string[]> => {
  const tasks = new Map<string, string[]>();
  for (const { taskId, kind } of brain.events) tasks.set(taskId, [...(tasks.get(taskId) ?? []), kind]);
  return tasks;
};

const ORDER = ['task.sent', 'task.received', 'task.started', 'task.succeeded', 'task.failed'];
const FAILED = ORDER.filter((kind) => kind !== 'task.succeeded');

test('a brain that takes 100 events/s of 1000 is told of all failures, and soon of what is new; what is left out is counted', {
  timeout: 60_000,
}, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'z4j-flow-'));
  try {
    await using brain = await stubBrain({ eventsPerSecond: 100 });
    const journal = openJournal({ dir, maxBytes: 1 << 28 });
    await using it = host(brain, { journal });
    it.link.start();
    await it.work(1000, 8);
    it.tell('task.failed', 'last');
    await brain.waitFor({ taskId: 'last' }, 20_000);
    await expect.poll(() => journal.confirmed === journal.end, { timeout: 20_000 }).toBe(true);
    const { leftOut } = it.link.stats;
    expect(leftOut).toBeGreaterThan(0);
    expect(brain.events.length + leftOut).toBe(it.dispatcher.counts.recorded);
    const tasks = kindsOf(brain);
    for (const id of it.failed) expect(tasks.get(id)).toEqual(FAILED);
    for (const kinds of tasks.values()) expect(ORDER.filter((kind) => kinds.includes(kind))).toEqual(kinds);
    expect(it.lines[0]).toMatch(/Z4J_DELIVERY=complete/);
    journal.close();
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test('a brain that was away is told everything', { timeout: 30_000 }, async () => {
  await using brain = await stubBrain({ eventsPerSecond: 5000 });
  await using it = host(brain);
  brain.misbehave({ closeWith: 1012 });
  it.link.start();
  await it.work(2000, 2);
  brain.misbehave({ closeWith: undefined });
  await it.work(2000, 1);
  expect(await it.link.flush(15_000)).toBe(true);
  expect(it.link.stats).toMatchObject({ leftOut: 0, share: 1 });
  expect(brain.events.length).toBe(it.dispatcher.counts.recorded);
});

test('a fixed share is not waited for at the end', { timeout: 30_000 }, async () => {
  await using brain = await stubBrain();
  await using it = host(brain, { share: 0, holdMs: 60_000 });
  it.link.start();
  it.tell('task.received', 'a');
  it.tell('task.started', 'a');
  expect(await it.link.flush(10_000)).toBe(true);
  expect(kindsOf(brain).get('a')).toEqual(['task.received', 'task.started']);
});
