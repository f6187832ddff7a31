import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { FLAVOURS, type Flavour, place, runHost, type Seen, type Servers, startServers } from './hosts.js';

// Several programs share a machine that may be busy.
vi.setConfig({ testTimeout: 180_000 });

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers[Symbol.asyncDispose]());

const run = (flavour: Flavour, body: string): Promise<Seen> =>
  runHost({ flavour, place: place(servers, flavour), body });

interface Answer {
  readonly ok?: Record<string, unknown> | null;
  readonly code?: string;
  readonly error?: string;
}

describe.concurrent.each(FLAVOURS)('commands on $name', (flavour) => {
  const modern = flavour.family !== 'legacy';

  it('submit, retry, requeue, bulk retry, dead letters, reconcile', async () => {
    const seen = await run(
      flavour,
      `const agenda = await ready(make());
       let broken = true;
       const got = [];
       define(agenda, 'job', async (job) => { got.push(job.attrs.data); if (broken) throw new Error('broken ' + job.attrs.data?.n); });
       let freed = false;
       define(agenda, 'long', async () => { while (!freed) await sleep(20); });
       define(agenda, 'tick', async () => { throw new Error('tick'); });
       await agenda.start();
       const command = (action, parameters) => execute('agenda', action, parameters);
       const submit = async (parameters) => (await command('submit_task', parameters)).task_id;
       const a = await submit({ task_name: 'job', args: [{ n: 1 }], kwargs: {}, priority: 'high' });
       const b = await submit({ task_name: 'job', args: [], kwargs: { n: 2 } });
       const c = await submit({ name: 'job', args: [{ n: 3 }], kwargs: {} });
       await agenda.every('1 hour', 'tick', {});
       await ended('job', 3);
       await ended('tick');
       await sleep(400);
       await attempt('dead', () => command('dlq.list', { queue: null, limit: 2, cursor: null }));
       await attempt('more', () => command('dlq.list', { queue: 'job', limit: 2, cursor: '2' }));
       await attempt('wrong', () => command('dlq.list', { queue: 'job', limit: 'x' }));
       await attempt('failed', () => command('reconcile_task', { task_id: a }));
       broken = false;
       await attempt('requeue', () => command('requeue_dead_letter', { task_id: a }));
       await until(() => count('succeeded', 'job') >= 1);
       await sleep(300);
       await attempt('again', () => command('requeue_dead_letter', { task_id: a }));
       await attempt('fine', () => command('reconcile_task', { task_id: a }));
       const tickId = events.find((event) => event.data.task_name === 'tick').taskId;
       await attempt('tick', () => command('reconcile_task', { task_id: tickId }));
       await attempt('bulk', () => command('bulk_retry', { filter: { task_ids: [b, c, tickId, 'nothing'] }, max: 10 }));
       await until(() => count('succeeded', 'job') >= 3);
       await sleep(300);
       await attempt('override', () => command('retry_task', { task_id: b, override_args: [{ n: 9 }], override_kwargs: {} }));
       await until(() => count('succeeded', 'job') >= 4);
       await attempt('nobody', () => command('retry_task', { task_id: 'no/such id' }));
       const long = await submit({ task_name: 'long', args: [], kwargs: {} });
       await until(() => count('started', 'long'));
       await attempt('running', () => command('retry_task', { task_id: long }));
       await attempt('reconcileRunning', () => command('reconcile_task', { task_id: long }));
       freed = true;
       const later = await submit({ task_name: 'job', args: [], kwargs: {}, eta: 3600 });
       await attempt('later', () => command('reconcile_task', { task_id: later }));
       print({ got, ids: { a, b, c } });
       await agenda.stop();`,
    );
    const answer = (key: string): Answer => (seen.value(key) ?? {}) as Answer;
    const { a, b, c } = seen.value('ids') as Record<string, string>;
    const dead = answer('dead').ok as { entries: Record<string, unknown>[] } & Record<string, unknown>;
    expect(dead, JSON.stringify(answer('dead'))).toMatchObject({ next_cursor: '2', total: 3, engine: 'agenda' });
    expect(dead.entries).toHaveLength(2);
    expect(Object.keys(dead.entries[0] ?? {}).sort()).toEqual([
      'attempts',
      'error_excerpt',
      'failed_at',
      'queue',
      'task_id',
      'task_name',
    ]);
    expect(dead.entries[0]).toMatchObject({
      task_name: 'job',
      queue: 'job',
      error_excerpt: expect.stringMatching(/^broken \d/),
      attempts: 1,
    });
    expect((answer('more').ok as { entries: unknown[] }).entries).toHaveLength(1);
    expect(answer('wrong').code).toBe('invalid');
    expect(answer('failed').ok).toMatchObject({
      engine_state: 'failure',
      exception: 'broken 1',
      finished_at: expect.any(String),
    });
    expect(answer('requeue').ok).toEqual({ task_id: a, engine: 'agenda' });
    expect(answer('again')).toMatchObject({ code: 'refused', error: expect.stringContaining('completed') });
    expect(answer('fine').ok).toMatchObject({ engine_state: 'success' });
    expect(answer('tick').ok).toMatchObject({ engine_state: 'failure', exception: 'tick' });
    expect(answer('bulk').ok).toMatchObject({
      retried: 2,
      skipped: 2,
      new_task_ids: [b, c],
      capped: false,
      circuit_broken: false,
    });
    expect(answer('override').ok).toMatchObject({ new_task_id: expect.any(String) });
    expect(answer('nobody').code).toBe('not_found');
    expect(answer('running')).toMatchObject({ code: 'refused', error: expect.stringContaining('running') });
    expect(answer('reconcileRunning').ok).toMatchObject({ engine_state: 'started' });
    expect(answer('later').ok).toMatchObject({ engine_state: 'pending' });
    expect(seen.value('got')).toEqual(expect.arrayContaining([{ n: 1 }, { n: 2 }, { n: 3 }, { n: 9 }]));
    expect(seen.of('task.received', 'job')[0]?.data.priority).toBe('high');
  });

  it('cancel what waits, is reserved, or runs; purge what waits only', async () => {
    const seen = await run(
      flavour,
      `const agenda = await ready(make({ processEvery: 9000 }));
       const ran = [];
       for (const name of ['reserved', 'waits']) define(agenda, name, async (job) => { ran.push(name); });
       define(agenda, 'runs', async (job) => { ran.push('runs'); while (!job.canceled && ran.length < 100) { await sleep(20); if (!job.cancel && stop) return; } });
       define(agenda, 'plan', async () => {});
       let stop = false;
       await agenda.start();
       const command = (action, parameters) => execute('agenda', action, parameters);
       const id = (job) => String(job.attrs._id);
       const waits = await agenda.schedule(new Date(Date.now() + 3600e3), 'waits', {});
       await attempt('waits', () => command('cancel_task', { task_id: id(waits) }));
       await attempt('gone', () => command('cancel_task', { task_id: id(waits) }));
       const due = Date.now() + 17000;
       const reserved = await agenda.schedule(new Date(due), 'reserved', {});
       const probe = async () => (await command('reconcile_task', { task_id: id(reserved) }), (await (agenda.jobs ? agenda.jobs({ name: 'reserved' }) : agenda.queryJobs({ name: 'reserved' }).then(({ jobs }) => jobs.map((attrs) => ({ attrs })))))[0].attrs.lockedAt);
       await until(probe, 'reservation');
       await attempt('reserved', () => command('cancel_task', { task_id: id(reserved) }));
       const runs = await agenda.now('runs', {});
       await until(() => count('started', 'runs'));
       await attempt('runs', () => command('cancel_task', { task_id: id(runs) }));
       stop = true;
       await until(() => count('revoked', 'runs'));
       await sleep(Math.max(0, due + 1000 - Date.now()));
       print({ ran });
       await agenda.every('1 hour', 'plan', {}, { skipImmediate: true });
       for (let i = 0; i < 5; i += 1) await agenda.schedule(new Date(Date.now() + 3600e3), 'plan', { i });
       await attempt('nameless', () => command('purge_queue', { queue: '' }));
       await attempt('purge', () => command('purge_queue', { queue: 'plan' }));
       await rows('agenda', 'kept');
       print({ health: await engine('agenda').health(new AbortController().signal) });
       print({ inventory: engine('agenda').inventory(), actions: engine('agenda').actions() });
       await attempt('grow', () => command('pool_grow', { worker_name: 'test', delta: 5 }));
       await attempt('empty', () => command('pool_shrink', { worker_name: 'test', delta: 25 }));
       await attempt('shrink', () => command('pool_shrink', { worker_name: 'test', delta: 24 }));
       await attempt('restart', () => command('restart_worker', {}));
       await agenda.stop();`,
    );
    const answer = (key: string): Answer => (seen.value(key) ?? {}) as Answer;
    expect(answer('waits').ok, JSON.stringify(answer('waits'))).toMatchObject({ engine: 'agenda' });
    expect(answer('gone').ok).toMatchObject({ noop: true });
    expect(answer('reserved').ok, JSON.stringify(answer('reserved'))).toMatchObject({ engine: 'agenda' });
    expect(answer('runs').ok).toMatchObject({ cooperative: modern });
    expect(seen.value('ran')).toEqual(['runs']);
    for (const name of ['waits', 'reserved', 'runs']) expect(seen.of('task.revoked', name), name).toHaveLength(1);
    expect(seen.of('task.succeeded', 'runs')).toEqual([]);
    expect(answer('nameless').code).toBe('invalid');
    expect(answer('purge').ok).toEqual({ queue: 'plan', purged: 5, depth_before: 5 });
    expect(seen.rows('kept')).toMatchObject([{ name: 'plan' }]);
    const { inventory, actions, health } = Object.assign({}, ...seen.values) as Record<string, never>;
    expect(inventory).toEqual({
      queues: ['reserved', 'waits', 'runs', 'plan'],
      tasks: ['reserved', 'waits', 'runs', 'plan'],
      workers: ['test'],
    });
    expect(actions).toContain('pool_grow');
    expect(health).toMatchObject({
      queueDepths: { plan: 0, waits: 0 },
      workers: { test: { concurrency: 20, active: [], registered: ['reserved', 'waits', 'runs', 'plan'] } },
    });
    expect(answer('grow').ok).toMatchObject({ concurrency_before: 20, concurrency: 25 });
    expect(answer('empty').code).toBe('invalid');
    expect(answer('shrink').ok).toMatchObject({ concurrency: 1 });
    expect(answer('restart').code).toBe('unsupported');
  });

  it('schedules: disable, update, trigger, create, delete, and what the code says again', async () => {
    const seen = await run(
      flavour,
      `const agenda = await ready(make());
       define(agenda, 'daily', async () => {});
       define(agenda, 'made', async () => {});
       define(agenda, 'words', async () => {});
       await agenda.start();
       const define_ = () => agenda.every('1 hour', 'daily', { v: 1 }, { skipImmediate: true });
       await define_();
       await agenda.every('90 minutes', 'words', {}, { skipImmediate: true });
       await rows('agenda', 'first');
       await attempt('disable', () => scheduler().update('daily', { enabled: false }));
       await define_();
       await rows('agenda', 'disabled');
       await attempt('whileDisabled', () => scheduler().trigger('daily'));
       await until(() => count('succeeded', 'daily') === 1);
       await rows('agenda', 'triggered');
       await attempt('enable', () => scheduler().update('daily', { enabled: true }));
       await rows('agenda', 'enabled');
       await attempt('interval', () => scheduler().update('daily', { kind: 'interval', expression: '7200', args: [{ v: 2 }] }));
       await rows('agenda', 'interval');
       await attempt('cron', () => scheduler().update('daily', { kind: 'cron', expression: '30 4 * * *', timezone: 'America/New_York' }));
       await rows('agenda', 'cron');
       await attempt('invalid', () => scheduler().update('daily', { kind: 'cron', expression: 'every now and then' }));
       await attempt('create', () => scheduler().create({ taskName: 'made', kind: 'interval', expression: '3600', kwargs: { x: 1 } }));
       await attempt('twice', () => scheduler().create({ taskName: 'made', kind: 'interval', expression: '3600' }));
       await attempt('unknown', () => scheduler().create({ taskName: 'nothing', kind: 'interval', expression: '3600' }));
       await rows('agenda', 'created');
       await attempt('delete', () => scheduler().delete('made'));
       await rows('agenda', 'deleted');
       const memory = scheduler().memory('app-agenda');
       await attempt('nothing', () => memory.load());
       await memory.save('first'); await memory.save('second');
       await attempt('remembered', () => memory.load());
       await rows('agenda', 'beside');
       let changes = 0;
       const off = scheduler().onChange(() => { changes += 1; });
       scheduler().onDefined(({ name }) => (name === 'daily' ? { enabled: false, expression: '7200' } : undefined));
       await define_();
       await rows('agenda', 'overridden');
       off();
       print({ changes });
       await sleep(200);
       print({ ran: [count('started', 'daily'), count('started', 'made')] });
       await agenda.stop();`,
    );
    const answer = (key: string): Answer => (seen.value(key) ?? {}) as Answer;
    const row = (label: string, name = 'daily') => seen.rows(label).find((one) => one.name === name);
    const in_ = (label: string): number => Math.round(((row(label)?.nextRunAt ?? 0) - Date.now()) / 60_000);
    expect(row('first')).toMatchObject({ kind: 'interval', expression: '3600', args: [{ v: 1 }], enabled: true });
    expect(row('first', 'words')).toMatchObject({ kind: 'interval', expression: '5400' });
    expect(row('disabled')?.enabled).toBe(false);
    expect(answer('whileDisabled').ok).toMatchObject({ task_id: expect.any(String), schedule: 'daily' });
    expect(row('triggered')).toEqual(row('disabled'));
    expect(row('enabled')?.enabled).toBe(true);
    expect(row('interval'), JSON.stringify(answer('interval'))).toMatchObject({ expression: '7200', args: [{ v: 2 }] });
    expect(in_('interval')).toBeGreaterThanOrEqual(118);
    if (flavour.cron) {
      expect(answer('cron')).toEqual({ ok: null });
      expect(row('cron')).toMatchObject({ kind: 'cron', expression: '30 4 * * *', timezone: 'America/New_York' });
      const clock = new Intl.DateTimeFormat('en-GB', { timeZone: 'America/New_York', timeStyle: 'short' });
      expect(clock.format(row('cron')?.nextRunAt)).toBe('04:30');
    } else {
      // 3.1.0, as it installs today, takes no cron plan at all.
      expect(answer('cron').code).toBe('invalid');
    }
    expect(answer('invalid').code).toBe('invalid');
    expect(answer('create')).toEqual({ ok: 'made' });
    expect(answer('twice').code).toBe('conflict');
    expect(answer('unknown').code).toBe('not_found');
    expect(row('created', 'made')).toMatchObject({ kind: 'interval', expression: '3600', args: [{ x: 1 }] });
    expect(row('deleted', 'made')).toBeUndefined();
    expect(answer('nothing')).toEqual({ ok: null });
    expect(answer('remembered')).toEqual({ ok: 'second' });
    expect(seen.rows('beside')).toEqual(seen.rows('deleted'));
    expect(seen.events.some(({ data }) => String(data.task_name).startsWith('z4j'))).toBe(false);
    expect(row('overridden')).toMatchObject({ enabled: false, expression: '7200' });
    expect(Number(seen.value('changes'))).toBeGreaterThanOrEqual(1);
    expect(seen.value('ran')).toEqual([1, 0]);
  });
});

describe('a database that is away', () => {
  const [flavour] = FLAVOURS.filter(({ name }) => name === 'agenda 5.0.0');

  it('lists nothing rather than a part, and leaves figures out', async () => {
    if (flavour === undefined) throw new Error('no flavour');
    const seen = await run(
      flavour,
      `const agenda = await ready(make());
       define(agenda, 'x', async () => {});
       await agenda.every('1 hour', 'x', {}, { skipImmediate: true });
       await agenda.start();
       agenda._collection = { find() { throw new Error('away'); }, countDocuments: async () => { throw new Error('away'); } };
       await attempt('list', () => scheduler().list());
       print({ health: await engine('agenda').health(new AbortController().signal) });`,
    );
    expect(seen.value('list')).toMatchObject({ error: 'away' });
    expect(Object.keys(seen.value('health') as object)).toEqual(['workers']);
  });
});
