import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { FLAVOURS, type Flavour, place, runHost, type Seen, type Servers, startServers } from './hosts.js';

// Several programs share a machine that may be busy.
vi.setConfig({ testTimeout: 180_000 });

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers[Symbol.asyncDispose]());

const run = (flavour: Flavour, body: string, esm?: boolean): Promise<Seen> =>
  runHost({ flavour, place: place(servers, flavour), body, ...(esm === undefined ? {} : { esm }) });

const OK = ['sent', 'received', 'started', 'succeeded'];

/** Whoever is faster tells first: the job's run or the answer to its save. */
const sorted = (kinds: string[] | undefined): string[] | undefined =>
  kinds && [...kinds.filter((kind) => kind === 'sent'), ...kinds.filter((kind) => kind !== 'sent')];

describe.concurrent.each(FLAVOURS)('$name', (flavour) => {
  it('tells the life of a job once', async () => {
    const seen = await run(
      flavour,
      `const agenda = make({ name: 'first' });
       await ready(agenda);
       define(agenda, 'fine', async (job) => { await sleep(20); await agenda.schedule(new Date(Date.now() + 500), 'child', { of: 'fine' }); });
       define(agenda, 'child', async () => {});
       define(agenda, 'callback', (job, done) => setTimeout(done, 5));
       define(agenda, 'throws', async () => { throw new TypeError('no luck'); });
       define(agenda, 'soft', async (job) => { job.fail('soft'); });
       const [file] = Object.values(agenda.definitions ?? {}).map(({ filePath }) => String(filePath));
       print({ file: file ?? 'host' });
       await agenda.start();
       await agenda.now('fine', { to: 'x', n: 1 });
       await agenda.now('callback');
       await agenda.now('throws');
       await agenda.now('soft');
       await ended('child'); await ended('callback'); await ended('throws'); await ended('soft');
       await sleep(300);
       await agenda.stop();`,
    );
    const [fine] = seen.tasks('fine');
    expect(sorted(fine), seen.stdout).toEqual(OK);
    expect(seen.tasks('fine')).toHaveLength(1);
    expect(sorted(seen.tasks('callback')[0])).toEqual(OK);
    expect(sorted(seen.tasks('throws')[0])).toEqual(['sent', 'received', 'started', 'failed']);
    expect(sorted(seen.tasks('soft')[0])).toEqual(OK);
    const [received] = seen.of('task.received', 'fine');
    expect(received).toMatchObject({
      engine: 'agenda',
      data: { queue: 'fine', args: [{ to: 'x', n: 1 }], priority: 'normal' },
    });
    const [parent] = seen.of('task.started', 'fine');
    expect(seen.of('task.received', 'child')[0]?.data).toMatchObject({
      parent_task_id: parent?.taskId,
      root_task_id: parent?.taskId,
    });
    expect(parent).toMatchObject({ workerOf: '', data: { attempt: 1 } });
    expect(seen.of('task.succeeded', 'fine')[0]?.data.runtime_ms).toBeGreaterThanOrEqual(15);
    expect(seen.of('task.failed', 'throws')[0]?.data).toMatchObject({
      exception: 'TypeError: no luck',
      traceback: expect.stringContaining('host.'),
    });
    expect(seen.of('task.succeeded', 'soft')[0]?.data.soft_failure).toBe('soft');
    expect(String(seen.value('file'))).toContain('host');
    expect(seen.events.filter(({ kind }) => kind === 'worker.online')).toHaveLength(1);
    expect(seen.events.filter(({ kind }) => kind === 'worker.offline')).toMatchObject([
      { data: { worker_name: 'test' } },
    ]);
  });

  it('a failed job that runs again is retried, not failed', async () => {
    const seen = await run(
      flavour,
      `const agenda = await ready(make());
       let n = 0;
       define(agenda, 'flaky', async () => { n += 1; if (n === 1) throw new Error('first'); });
       agenda.on('fail:flaky', (error, job) => { job.schedule(new Date(Date.now() + 500)); job.save().catch(() => {}); });
       await agenda.start();
       await agenda.now('flaky', {});
       await until(() => count('succeeded', 'flaky') > 0);
       await agenda.stop();`,
    );
    const [kinds] = seen.tasks('flaky');
    expect(sorted(kinds), seen.stdout).toEqual(['sent', 'received', 'started', 'retried', 'started', 'succeeded']);
    expect(seen.of('task.retried', 'flaky')[0]?.data).toMatchObject({
      retry_count: 1,
      exception: 'Error: first',
      eta: expect.any(String),
    });
    const attempts = seen.of('task.started', 'flaky').map(({ data }) => data.attempt);
    // On PostgreSQL, Agenda's own save() may forget that the job had failed.
    expect(attempts).toEqual([1, flavour.store === 'postgres' ? expect.any(Number) : 2]);
  });

  it('a recurring job is one schedule, each execution a task of its own', async () => {
    const seen = await run(
      flavour,
      `const agenda = await ready(make());
       define(agenda, 'tick', async () => {});
       await agenda.start();
       await agenda.every('1 second', 'tick', { a: 1 });
       await until(() => count('succeeded', 'tick') >= 3);
       await rows('agenda', 'all');
       await agenda.stop();
       await rows('agenda', 'stopped');`,
    );
    const tasks = seen.tasks('tick');
    expect(tasks.length, seen.stdout).toBeGreaterThanOrEqual(3);
    for (const kinds of tasks.slice(0, 3)) expect(kinds).toEqual(['received', 'started', 'succeeded']);
    for (const { taskId } of seen.of('task.received', 'tick')) expect(taskId).toMatch(/:\d{13}$/);
    expect(seen.events.filter(({ kind }) => kind === 'schedule.run_started').length).toBeGreaterThanOrEqual(3);
    expect(seen.events.filter(({ kind }) => kind === 'schedule.run_completed').length).toBeGreaterThanOrEqual(3);
    expect(seen.rows('all')).toMatchObject([
      {
        name: 'tick',
        taskName: 'tick',
        kind: 'interval',
        expression: '1',
        args: [{ a: 1 }],
        enabled: true,
        source: 'agenda:document',
        queue: 'tick',
      },
    ]);
    expect(seen.rows('all')[0]?.totalRuns).toBeGreaterThanOrEqual(3);
    expect(seen.rows('all')[0]?.nextRunAt).toBeGreaterThan(Date.now() - 60_000);
    expect(seen.rows('stopped')).toEqual([]);
  });
});
