import { describe, expect, test } from 'vitest';
import { Dispatcher, EVENT_KINDS } from '../../src/dispatcher.js';
import type { EventData, TaskEvent } from '../../src/engine.js';
import type { RecordMeta } from '../../src/journal/journal.js';
import { memoryJournal } from '../../src/journal/memory.js';
import { canonical } from '../../src/protocol/canonical.js';
import { plain, readJson } from '../../src/protocol/reader.js';
import { Redactor } from '../../src/redactor.js';

const NOW = Date.UTC(2026, 10, 23, 17, 15, 38, 120);
const names = { workerName: (engine: string, queue: string) => `host-1:${engine}:${queue}` };

interface Printed {
  readonly data: Record<string, unknown>;
  readonly [key: string]: unknown;
}

function setUp(options: { identity?: typeof names | undefined; redactor?: Redactor } = {}) {
  const texts: string[] = [];
  const metas: RecordMeta[] = [];
  let flushed = 0;
  const journal = {
    append(text: string, meta: RecordMeta) {
      texts.push(text);
      metas.push(meta);
    },
    flush() {
      flushed++;
    },
  };
  const identity = 'identity' in options ? options.identity : names;
  const dispatcher = new Dispatcher({
    journal,
    redactor: options.redactor ?? new Redactor(),
    identity,
    now: () => NOW,
  });
  return {
    dispatcher,
    texts,
    metas,
    flushed: () => flushed,
    events: () => texts.map((text) => plain(readJson(text)) as Printed),
  };
}

const event = (data: EventData = {}, rest: Partial<TaskEvent> = {}): TaskEvent => ({
  kind: 'task.received',
  engine: 'bullmq',
  taskId: 'mail:42',
  occurredAt: NOW,
  data,
  ...rest,
});

describe('the text of an event', () => {
  test('is canonical, whole and redacted', () => {
    const { dispatcher, texts, metas, events } = setUp();
    dispatcher.record(
      event(
        {
          task_name: 'send',
          queue: 'mail',
          args: [{ to: 'a@b.com', n: 1e-7, password: 'p' }],
          kwargs: {},
          delay: undefined,
        },
        { workerOf: 'mail' },
      ),
    );
    expect(canonical(readJson(texts[0] as string))).toBe(texts[0]);
    const { id, ...rest } = events()[0] as Printed;
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(rest).toEqual({
      kind: 'task.received',
      engine: 'bullmq',
      task_id: 'mail:42',
      occurred_at: '2026-11-23T17:15:38.120Z',
      data: {
        task_name: 'send',
        queue: 'mail',
        args: [{ to: '[REDACTED]', n: 1e-7, password: '[REDACTED]' }],
        kwargs: {},
        worker: 'host-1:bullmq:mail',
      },
    });
    expect(EVENT_KINDS[(metas[0] as RecordMeta).kind]).toBe('task.received');
    expect(dispatcher.counts).toEqual({
      recorded: 1,
      dropped: 0,
      pending: 0,
    });
  });

  test('names no worker where the event names none', () => {
    const { dispatcher, events } = setUp();
    dispatcher.record(event({ worker_name: 'w' }, { kind: 'worker.offline', taskId: '' }));
    expect(events()[0]?.data).toEqual({ worker_name: 'w' });
  });

  test('shows values as they were when it was recorded', () => {
    const { dispatcher, events } = setUp();
    const data = { args: [{ n: 1 }] };
    dispatcher.record(event(data));
    (data.args[0] as { n: number }).n = 2;
    expect(events()[0]?.data.args).toEqual([{ n: 1 }]);
  });

  test('ids are unique, the task’s hash is the same for its events and differs between engines', () => {
    const { dispatcher, metas, events } = setUp();
    for (let i = 0; i < 300; i++) dispatcher.record(event());
    dispatcher.record(event({}, { engine: 'agenda' }));
    dispatcher.record(event({}, { kind: 'worker.online', taskId: '' }));
    expect(new Set(events().map(({ id }) => id)).size).toBe(302);
    expect(metas[0]?.task).toBe(metas[299]?.task);
    expect(metas[0]?.task).not.toBe(metas[300]?.task);
    expect(metas[301]?.task).toBe(0);
  });

  test.each([
    [NOW - 5, '2026-11-23T17:15:38.115Z'],
    [NOW - 119.5, '2026-11-23T17:15:38.000Z'],
    [NOW - 1120, '2026-11-23T17:15:37.000Z'],
    [NOW - 86_400_000 * 300, '2026-01-27T17:15:38.120Z'],
    // Where the brain would put a time of its own.
    [NOW - 86_400_000 * 401, '2026-11-23T17:15:38.120Z'],
    [NOW + 90_000, '2026-11-23T17:15:38.120Z'],
    [Number.NaN, '2026-11-23T17:15:38.120Z'],
    [Number.POSITIVE_INFINITY, '2026-11-23T17:15:38.120Z'],
  ])('time %d is %s', (occurredAt, text) => {
    const { dispatcher, events } = setUp();
    dispatcher.record(event({}, { occurredAt }));
    expect(events()[0]?.occurred_at).toBe(text);
  });
});

describe('limits of the brain', () => {
  test('names are shortened and stay distinct', () => {
    const { dispatcher, events } = setUp({ identity: { workerName: (_, queue) => queue.repeat(300) } });
    const long = (end: string) =>
      event(
        {
          task_name: `${'t'.repeat(600)}${end}`,
          queue: `${'q'.repeat(300)}${end}`,
          parent_task_id: `${'p'.repeat(300)}${end}`,
        },
        { engine: `${'e'.repeat(50)}${end}`, taskId: `${'i'.repeat(300)}${end}`, workerOf: 'w' },
      );
    dispatcher.record(long('1'));
    dispatcher.record(long('2'));
    const [one, two] = events() as [Printed, Printed];
    for (const [name, max] of [
      ['engine', 40],
      ['task_id', 200],
    ] as const) {
      expect((one[name] as string).length).toBe(max);
      expect(one[name]).not.toBe(two[name]);
    }
    for (const [name, max] of [
      ['task_name', 500],
      ['queue', 200],
      ['parent_task_id', 200],
    ] as const) {
      expect((one.data[name] as string).length).toBe(max);
      expect(one.data[name]).not.toBe(two.data[name]);
    }
    expect((one.data.worker as string).length).toBe(200);
  });

  test('slashes and control characters of a task id are encoded', () => {
    const { dispatcher, events } = setUp();
    dispatcher.record(event({ root_task_id: 'a/b' }, { taskId: 'q:a/b\n' }));
    expect(events()[0]).toMatchObject({ task_id: 'q:a%2Fb%0A', data: { root_task_id: 'a%2Fb' } });
  });

  test('a task id that reads as a secret stays one of its own, also as a parent', () => {
    const { dispatcher, events } = setUp();
    dispatcher.record(event({}, { taskId: 'q:ann@example.com' }));
    dispatcher.record(event({}, { taskId: 'q:bob@example.com' }));
    dispatcher.record(event({ parent_task_id: 'q:ann@example.com' }));
    const [ann, bob, child] = events() as [Printed, Printed, Printed];
    expect(ann.task_id).toMatch(/^redacted-[0-9a-f]{20}$/);
    expect(bob.task_id).not.toBe(ann.task_id);
    expect(child.data.parent_task_id).toBe(ann.task_id);
  });

  test('an unknown priority is normal', () => {
    const { dispatcher, events } = setUp();
    dispatcher.record(event({ priority: 'urgent' as 'high' }));
    dispatcher.record(event({ priority: 'low' }));
    expect(events().map(({ data }) => data.priority)).toEqual(['normal', 'low']);
  });
});

describe('before the identity is known', () => {
  test('events wait in order, printed, and get the names of their workers', () => {
    const { dispatcher, events, texts } = setUp({ identity: undefined });
    const data = { args: ['$&', 1] };
    dispatcher.record(event(data, { workerOf: 'mail' }));
    dispatcher.record(event({ n: 2 }));
    data.args[1] = 9;
    expect(dispatcher.counts).toMatchObject({ recorded: 0, pending: 2 });
    dispatcher.identity = { workerName: (_, queue) => `$&"${queue}` };
    dispatcher.record(event({ n: 3 }));
    expect(events().map((each) => each.data)).toEqual([{ args: ['$&', 1], worker: '$&"mail' }, { n: 2 }, { n: 3 }]);
    for (const text of texts) expect(canonical(readJson(text))).toBe(text);
    expect(dispatcher.counts).toMatchObject({ recorded: 3, pending: 0, dropped: 0 });
  });

  test('what waits is bounded, the oldest goes first', () => {
    const { dispatcher, events } = setUp({ identity: undefined });
    const text = 'x'.repeat(8000);
    for (let i = 0; i < 1200; i++) dispatcher.record(event({ i, text }));
    const { pending, dropped } = dispatcher.counts;
    expect(dropped).toBeGreaterThan(100);
    expect(pending + dropped).toBe(1200);
    dispatcher.identity = names;
    expect(events()[0]?.data.i).toBe(dropped);
  });
});

describe('the host’s faults stay its own', () => {
  test('what throws when read is a marker', () => {
    const { dispatcher, events } = setUp();
    const args = [
      {
        get bad() {
          throw new Error('no');
        },
        ok: 1,
      },
    ];
    dispatcher.record(event({ args }));
    expect(events()[0]?.data.args).toEqual([{ bad: '[unreadable]', ok: 1 }]);
  });

  test('an event that cannot be printed is dropped and counted', () => {
    const { dispatcher, texts } = setUp({
      identity: {
        workerName: () => {
          throw new Error('no');
        },
      },
    });
    dispatcher.record(event({}, { workerOf: 'mail' }));
    dispatcher.record(event({}, { kind: 'task.invented' as 'task.sent' }));
    dispatcher.record(undefined as unknown as TaskEvent);
    expect(texts).toHaveLength(0);
    expect(dispatcher.counts).toMatchObject({ recorded: 0, dropped: 3 });
  });

  test('a value that records an event while it is printed disturbs neither', () => {
    const { dispatcher, events } = setUp();
    const toJSON = () => {
      dispatcher.record(event({ inner: 1 }));
      return { z: 1, a: 2 };
    };
    const args = [{ toJSON }];
    dispatcher.record(event({ args, outer: 1 }));
    expect(events().map(({ data }) => data)).toEqual([{ inner: 1 }, { args: [{ z: 1, a: 2 }], outer: 1 }]);
  });

  test('data of any size is one event that fits a frame', () => {
    const { dispatcher, texts } = setUp();
    dispatcher.record(event({ args: new Array(1e6).fill('é'.repeat(50)), result: { deep: new Array(1e6) } }));
    expect(Buffer.byteLength(texts[0] as string)).toBeLessThan(256 * 1024);
  });
});

test('works with a real journal; flush has it written', async () => {
  const journal = memoryJournal({ maxBytes: 1 << 20 });
  const dispatcher = new Dispatcher({ journal, redactor: new Redactor(), identity: names });
  for (let i = 0; i < 10; i++) dispatcher.record(event({ i }));
  await dispatcher.flush();
  const batch = journal.read(0, { records: 100, bytes: 1 << 20 });
  expect(batch?.records.map((record) => JSON.parse(record.toString()).data.i)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  journal.close();
});
