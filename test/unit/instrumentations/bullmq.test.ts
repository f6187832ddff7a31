import { describe, expect, it } from 'vitest';
import type { ForeignJob } from '../../../instrumentations/bullmq/foreign.js';
import {
  attemptOf,
  jobIdOf,
  payload,
  priorityLabel,
  priorityNumber,
  queueLabel,
  received,
  sent,
  succeeded,
  taskId,
} from '../../../instrumentations/bullmq/map.js';
import { BullMQEngine } from '../../../instrumentations/bullmq/operate.js';
import { placeOf, type Run } from '../../../instrumentations/bullmq/registry.js';
import { Runs } from '../../../instrumentations/bullmq/runs.js';

const job = (facts: object): ForeignJob =>
  ({ id: '7', name: 'mail', data: { to: 'x' }, opts: {}, timestamp: 1000, attemptsMade: 0, ...facts }) as ForeignJob;

const place = { engine: 'bullmq', queue: 'out' };

describe('runs', () => {
  const run = (of: ForeignJob): Run => ({ job: of, worker: undefined });

  it('belong to one job each, whatever it is, and leave no trace on it', () => {
    const runs = new Runs();
    const plain = job({});
    const jobs = [
      plain,
      job({}),
      Object.freeze(job({})),
      new Proxy(job({}), {}),
      Object.create(plain),
      Object.freeze(plain),
    ];
    for (const [index, each] of jobs.entries()) {
      const before = index === 5 ? runs.get(plain) : undefined;
      expect(runs.get(each)).toBe(before);
      for (const made of [run(each), run(each)]) {
        runs.set(each, made);
        expect(runs.get(each)).toBe(made);
      }
      expect(Reflect.ownKeys(each)).toEqual(index === 4 ? [] : Reflect.ownKeys(job({})));
    }
  });

  it('nothing else has any', () => {
    const runs = new Runs();
    for (const what of [undefined, null, 7, 'job', () => 1])
      expect(runs.get(what as unknown as ForeignJob)).toBeUndefined();
  });
});

describe('task ids', () => {
  it.each(['1', 'repeat:beat:1795667325191', 'a/b', '100%', 'tab\there', 'ünïcode'])('brings back %j', (id) => {
    const task = taskId('app{x}:out', id);
    expect([...task].filter((char) => char === '/' || char < ' ')).toEqual([]);
    expect(jobIdOf(task, 'app{x}:out')).toBe(id);
    expect(jobIdOf(task, 'app{x}:other')).toBeUndefined();
  });

  it('keeps long ones apart within 200 characters', () => {
    const ids = ['a', 'b'].map((end) => taskId('out', `${'😀'.repeat(200)}${end}`));
    expect(ids.map(({ length }) => length)).toEqual([200, 200]);
    expect(ids[0]).not.toBe(ids[1]);
  });

  it('names the prefix unless it is the default', () => {
    expect([undefined, '', 'bull', 'app'].map((prefix) => queueLabel('out', prefix))).toEqual([
      'out',
      'out',
      'out',
      'app:out',
    ]);
  });
});

describe('events', () => {
  it('tells an add with what matters of its options', () => {
    const opts = { attempts: 3, delay: 500, priority: 1, jobId: '7', deduplication: { id: 'd' }, lifo: true };
    const { data, occurredAt } = received(place, job({ opts, delay: 500 }), { parent: 'p:1', root: 'r:1' });
    expect(occurredAt).toBe(1000);
    expect(data).toMatchObject({
      args: [{ to: 'x' }],
      kwargs: {},
      priority: 'critical',
      priority_number: 1,
      attempts: 3,
      delay: 500,
      eta: '1970-01-01T00:00:01.500Z',
      job_id: '7',
      deduplication_id: 'd',
      lifo: true,
      parent_task_id: 'p:1',
      root_task_id: 'r:1',
    });
    expect(sent(place, job({ opts }), { maybeDuplicate: true }).data).not.toHaveProperty('args');
  });

  it('reads the parent from the options where no flow was seen', () => {
    const { data } = received(place, job({ opts: { parent: { id: '9', queue: 'app:{x}:up' } } }), {});
    expect(data.parent_task_id).toBe('app:{x}:up:9');
  });

  it('keeps falsy results and says null for none', () => {
    const ending = { at: 2000, runtimeMs: 5, trace: undefined, here: true };
    const results = [0, '', false, null, undefined].map(
      (result) => succeeded(place, job({}), result, ending).data.result,
    );
    expect(results).toEqual([0, '', false, null, null]);
  });

  it('counts the first run as 1 on every major', () => {
    expect(attemptOf(job({ attemptsMade: 1 }))).toBe(1);
    expect(attemptOf(job({ attemptsMade: 0, attemptsStarted: 1 }))).toBe(1);
    expect(attemptOf(job({ attemptsMade: 2, attemptsStarted: 3 }))).toBe(3);
  });

  it('ranks priorities and finds back to the same rank', () => {
    expect([undefined, 0, 1, 5, 50, 5000].map(priorityLabel)).toEqual([
      'normal',
      'normal',
      'critical',
      'high',
      'normal',
      'low',
    ]);
    for (const label of ['critical', 'high', 'low']) expect(priorityLabel(priorityNumber(label))).toBe(label);
  });

  it('makes one payload of args and kwargs', () => {
    expect(payload([{ a: 1 }], {})).toEqual({ a: 1 });
    expect(payload([], { b: 2 })).toEqual({ b: 2 });
    expect(payload([1], { b: 2 })).toEqual({ b: 2, z4j_args: [1] });
    expect(payload([1, 2], null)).toEqual([1, 2]);
    expect(payload(undefined, undefined)).toEqual({});
  });
});

describe('engines', () => {
  it('takes the queues of its connection and prefix, and leaves the others to the general one', () => {
    const client = { options: { host: 'localhost', port: 6380, db: 2 } };
    const analytics = new BullMQEngine({ connection: client, namespace: 'analytics' });
    const prefixed = new BullMQEngine({ connection: 'redis://127.0.0.1:6381', prefix: 'app', namespace: 'app' });
    expect([analytics.name, prefixed.name]).toEqual(['bullmq-analytics', 'bullmq-app']);
    const engineOf = (connection: unknown, prefix?: string) =>
      placeOf({ name: 'q', opts: { connection, prefix } }).engine;
    expect(engineOf(client)).toBe('bullmq-analytics');
    expect(engineOf({ host: '127.0.0.1', port: 6380, db: 2 })).toBe('bullmq-analytics');
    expect(engineOf({ url: 'redis://localhost:6380/2' }, 'bull')).toBe('bullmq-analytics');
    expect(engineOf({ host: '127.0.0.1', port: 6380 })).toBe('bullmq');
    expect(engineOf(client, 'app')).toBe('bullmq');
    expect(engineOf({ port: 6381 }, 'app')).toBe('bullmq-app');
  });

  it('refuses a namespace that the brain could not read', () => {
    expect(() => new BullMQEngine({ namespace: 'a.b' })).toThrow(/Expected `namespace` to be up to 33 letters/);
  });
});
