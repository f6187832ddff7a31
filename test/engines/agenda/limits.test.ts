import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { FLAVOURS, place, runHost, type Servers, startServers } from './hosts.js';

vi.setConfig({ testTimeout: 180_000 });

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers[Symbol.asyncDispose]());

interface Answer {
  readonly ok?: Record<string, unknown>;
  readonly error?: string;
  readonly code?: string;
}

/** Several jobs that wait for a word, and what runs of them. */
const GATE = `
  let running = 0, most = 0, open = false;
  const held = async () => { running += 1; most = Math.max(most, running); await until(() => open); running -= 1; };
  const health = () => engine('agenda').health(new AbortController().signal);
`;

describe.concurrent.each(FLAVOURS)('what $name lets run', (flavour) => {
  const run = (body: string) => runHost({ flavour, place: place(servers, flavour), body });
  const legacy = flavour.family === 'legacy';
  // 3.x takes an argument for a callback, and throws.
  const progress = (value: string): string => (flavour.name === 'agenda 3.1.0' ? '' : value);

  it('touch() keeps the lock of a long run, which is told once', async () => {
    const seen = await run(`
      const agenda = await ready(make());
      agenda.on('error', (error) => print({ error: String(error) }));
      let touched = 0;
      define(agenda, 'long', async (job) => {
        for (let i = 1; i <= 12; i += 1) { await sleep(500); await job.touch(${progress('i * 8')}); touched += 1; }
      }, { lockLifetime: 4000 });
      define(agenda, 'tick', async (job) => { await job.touch(${progress('50')}); });
      await agenda.start();
      await agenda.now('long', { n: 1 });
      await ended('long');
      await agenda.every('1 second', 'tick', {});
      await ended('tick', 2);
      await sleep(400);
      print({ touched });
      await agenda.stop();`);
    expect(seen.value('touched'), seen.stdout).toBe(12);
    expect(seen.tasks('long').map((kinds) => kinds.filter((kind) => kind !== 'sent'))).toEqual([
      ['received', 'started', 'succeeded'],
    ]);
    for (const kinds of seen.tasks('tick')) expect(kinds.slice(0, 3)).toEqual(['received', 'started', 'succeeded']);
    expect(seen.of('task.started', 'long')[0]?.data.lock_expired).toBeUndefined();
    expect(seen.value('error')).toBeUndefined();
  });

  it('lockLimit of a definition is in the figures', async () => {
    const seen = await run(`${GATE}
      const agenda = await ready(make());
      define(agenda, 'narrow', held, { lockLimit: 2, concurrency: 5 });
      // 3.1 may lock one more than it should of jobs that are added while it looks for some.
      for (let i = 0; i < 5; i += 1) await agenda.now('narrow', { i });
      await agenda.start();
      await until(() => running === 2, 'two runs');
      await sleep(400);
      print({ health: await health(), most });
      open = true;
      await ended('narrow', 5);
      print({ all: most });
      await agenda.stop();`);
    const health = seen.value('health') as { queueDepths: object; workers: { test: Record<string, never> } };
    expect(seen.value('most'), seen.stdout).toBe(2);
    expect(seen.value('all')).toBe(2);
    expect(health.queueDepths).toEqual({ narrow: 3 });
    expect(health.workers.test.active).toHaveLength(2);
    expect(health.workers.test).toMatchObject({
      concurrency: 20,
      stats: { definitions: { narrow: { concurrency: 5, lock_limit: 2 } } },
    });
    expect(health.workers.test.stats).not.toHaveProperty('lock_limit');
  });

  it('lockLimit of all together bounds the pool', async () => {
    const seen = await run(`${GATE}
      const agenda = await ready(make({ lockLimit: 3, maxConcurrency: 10 }));
      define(agenda, 'some', held, { concurrency: 10 });
      await agenda.start();
      const command = (action, delta) => execute('agenda', action, { worker_name: 'test', delta });
      print({ health: await health() });
      await attempt('grow', () => command('pool_grow', 1));
      await attempt('shrink', () => command('pool_shrink', 2));
      for (let i = 0; i < 4; i += 1) await agenda.now('some', { i });
      await until(() => running === 1, 'one run');
      await sleep(400);
      print({ shrunk: most });
      await attempt('back', () => command('pool_grow', 2));
      // 3–5 start what they have locked when another job ends or comes.
      await until(() => running === ${legacy ? 1 : 3}, 'more runs');
      await attempt('more', () => command('pool_grow', 1));
      await sleep(300);
      print({ grown: most });
      open = true;
      await ended('some', 4);
      await agenda.stop();`);
    const answer = (key: string): Answer => (seen.value(key) ?? {}) as Answer;
    expect(seen.value('health'), seen.stdout).toMatchObject({
      workers: { test: { concurrency: 3, stats: { lock_limit: 3 } } },
    });
    expect(answer('grow')).toMatchObject({ code: 'conflict', error: expect.stringContaining('lockLimit') });
    expect(answer('shrink').ok).toMatchObject({ concurrency_before: 3, concurrency: 1 });
    expect(seen.value('shrunk')).toBe(1);
    expect(answer('back').ok).toMatchObject({ concurrency_before: 1, concurrency: 3 });
    expect(answer('more').code).toBe('conflict');
    expect(seen.value('grown')).toBe(legacy ? 1 : 3);
  });

  it('repeatAt is a daily plan, which an operator may disable, replace and delete', async () => {
    const seen = await run(`
      const agenda = await ready(make());
      define(agenda, 'report', async () => {});
      await agenda.start();
      const job = agenda.create('report', { kind: 'day' });
      job.repeatAt('3:30am');
      await job.save();
      // 3 – 5 run it at once, and plan it then.
      const planned = async () => (await scheduler().list()).some((row) => row.nextRunAt > Date.now() + 1000);
      await until(planned, 'a plan');
      await rows('agenda', 'made');
      const name = (await scheduler().list())[0].name;
      await attempt('disable', () => scheduler().update(name, { enabled: false }));
      await rows('agenda', 'disabled');
      await attempt('enable', () => scheduler().update(name, { enabled: true }));
      await attempt('same', () => scheduler().update(name, { kind: 'cron', expression: 'daily at 3:30am', args: [{ kind: 'night' }] }));
      await rows('agenda', 'same');
      const timezone = Intl.DateTimeFormat().resolvedOptions().timeZone;
      await attempt('later', () => scheduler().update(name, { kind: 'cron', expression: 'daily at 4:45pm', timezone }));
      await rows('agenda', 'later');
      await attempt('nonsense', () => scheduler().update(name, { kind: 'cron', expression: 'daily at no time' }));
      await attempt('zone', () => scheduler().update(name, { timezone: 'Europe/Oslo' }));
      const runs = count('succeeded', 'report');
      await attempt('trigger', () => scheduler().trigger(name));
      await ended('report', runs + 1);
      await until(planned, 'the plan after the run');
      await attempt('replan', () => scheduler().update(name, { kind: 'interval', expression: '7200' }));
      await rows('agenda', 'replanned');
      await attempt('delete', () => scheduler().delete(name));
      await rows('agenda', 'deleted');
      await agenda.stop();`);
    const made = seen.rows('made').filter(({ nextRunAt }) => nextRunAt !== undefined);
    const timezone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    const plan = { taskName: 'report', kind: 'cron', expression: 'daily at 3:30am', timezone };
    expect(made, seen.stdout).toMatchObject([plan]);
    const next = new Date(made[0]?.nextRunAt ?? 0);
    expect([next.getHours(), next.getMinutes()]).toEqual([3, 30]);
    expect(seen.rows('disabled')[0]?.enabled).toBe(false);
    const answers = ['disable', 'enable', 'same', 'later', 'trigger', 'replan', 'delete'];
    expect(answers.map((key) => (seen.value(key) as Answer)?.error)).toEqual(answers.map(() => undefined));
    expect(seen.rows('same')).toMatchObject([
      { enabled: true, expression: 'daily at 3:30am', args: [{ kind: 'night' }], nextRunAt: made[0]?.nextRunAt },
    ]);
    const later = new Date(seen.rows('later')[0]?.nextRunAt ?? 0);
    expect([later.getHours(), later.getMinutes()]).toEqual([16, 45]);
    expect(seen.rows('later')[0]?.expression).toBe('daily at 4:45pm');
    expect((seen.value('nonsense') as Answer).code).toBe('invalid');
    expect((seen.value('zone') as Answer).code).toBe('unsupported');
    expect(seen.rows('replanned')).toMatchObject([{ kind: 'interval', expression: '7200', enabled: true }]);
    expect(seen.rows('deleted')).toEqual([]);
  });
});

describe.concurrent.each(FLAVOURS.filter(({ family }) => family === 'six'))('debounced jobs of $name', (flavour) => {
  const run = (body: string) => runHost({ flavour, place: place(servers, flavour), body });

  it('are one task with the data they run with, and one more after they have run', async () => {
    const seen = await run(`
      const agenda = await ready(make());
      const ran = [];
      define(agenda, 'index', async (job) => { ran.push(job.attrs.data); });
      const ask = (n) => agenda.nowDebounced('index', { key: 'a', n }, { 'data.key': 'a' }, 600);
      const ids = new Set();
      await agenda.start();
      for (let n = 1; n <= 4; n += 1) { ids.add(String((await ask(n)).attrs._id)); await sleep(50); }
      await ended('index');
      await sleep(1100);
      ids.add(String((await ask(5)).attrs._id));
      await ended('index', 2);
      print({ ids: ids.size, ran });
      await agenda.stop();`);
    const ran = seen.value('ran') as { n: number }[];
    expect(
      ran.map(({ n }) => n),
      seen.stdout,
    ).toEqual([4, 5]);
    const kinds = seen.tasks('index').map((each) => each.filter((kind) => kind !== 'sent'));
    const [first, second] = kinds;
    expect(seen.of('task.succeeded', 'index')).toHaveLength(2);
    if (seen.value('ids') === 1) {
      // The row is the same: it waits again, with other arguments.
      expect(kinds).toEqual([['received', 'received', 'started', 'succeeded', 'received', 'started', 'succeeded']]);
    } else {
      expect(first).toEqual(['received', 'received', 'started', 'succeeded']);
      expect(second).toEqual(['received', 'started', 'succeeded']);
    }
    // What a row shows is what was told last before each run.
    const shown = seen.of('task.started', 'index').map((started) => {
      const before = seen.events.slice(0, seen.events.indexOf(started));
      return before.findLast(({ kind, taskId }) => kind === 'task.received' && taskId === started.taskId)?.data.args;
    });
    expect(shown).toEqual(ran.map((data) => [data]));
  });
});
