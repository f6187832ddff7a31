import { describe, expect, it, vi } from 'vitest';
import type { TaskEvent } from '../../../src/engine.js';
import { runHost, type Seen, since } from './hosts.js';

// Several programs share a machine that may be busy.
vi.setConfig({ testTimeout: 180_000 });

const V4 = ['4.0.0', '4.0.7', '4.2.1', '4.3.0', '4.4.1', '4.5.0', '4.6.0'] as const;
const LATE = ['4.3.0', '4.4.1', '4.5.0', '4.6.0'] as const;

const ofSchedule = ({ events }: Seen, name: string, kind: string): TaskEvent[] =>
  events.filter((event) => event.kind === kind && event.data.schedule === name);

const value = (seen: Seen, key: string): unknown => seen.values.find((line) => key in line)?.[key];

/** Operations of the scheduler, their outcome printed. */
const OPERATE = `
  const { print, rows, sleep, engine, execute } = z4j;
  const every = '* * * * * *';
  const far = '0 0 1 1 *';
  const attempt = async (key, call) => {
    try { print({ [key]: { ok: (await call()) ?? null } }); }
    catch (error) { print({ [key]: { error: error.message, code: error.code } }); }
  };
  const scheduler = () => engine('node-cron').scheduler;
  const until = async (check) => { for (let i = 0; i < 200 && !check(); i += 1) await sleep(25); };
`;

describe.concurrent('names', () => {
  it('3.x: an option object that it wrote a name into hands no name on', async () => {
    const body = `${OPERATE}
      const shared = { scheduled: false };
      cron.schedule(far, function a() {}, shared);
      cron.schedule(far, function b() {}, shared);
      cron.schedule(far, function c() {}, Object.freeze({ name: 'frozen', scheduled: false }));
      await rows('node-cron', 'all');`;
    const seen = await runHost({ version: '3.0.3', style: 'cjs', body });
    // A frozen object is refused by 3.x itself.
    expect(seen.code).toBe(1);
    expect(seen.stderr).toContain('Cannot assign to read only property');
    const fine = await runHost({ version: '3.0.3', style: 'cjs', body: body.replace(/.*Object.freeze.*/, '') });
    expect(fine.rows('all').map(({ name }) => name.replace(/.*#/, ''))).toEqual(['a', 'b']);
  });

  it('3.x: runOnInit is one run, and what it defines is another schedule', async () => {
    const body = `${OPERATE}
      let ran = false;
      cron.schedule(far, () => { cron.schedule(far, () => 1, { name: 'inner', scheduled: false }); ran = true; return 7; }, { name: 'outer', runOnInit: true, scheduled: false });
      await until(() => ran);
      await rows('node-cron', 'all');`;
    const seen = await runHost({ version: '3.0.3', style: 'cjs', body });
    expect(seen.runs('outer')).toEqual([['received', 'started', 'succeeded']]);
    expect(ofSchedule(seen, 'outer', 'task.received')[0]?.data.reason).toBe('init');
    expect(
      seen
        .rows('all')
        .map(({ name }) => name)
        .sort(),
    ).toEqual(['inner', 'outer']);
  });

  it('names are the same in every run of the program', async () => {
    const body = `${OPERATE} cron.schedule(far, function x() {}).stop(); cron.schedule(far, () => {}).stop(); await rows('node-cron', 'all');`;
    const [one, two] = await Promise.all([1, 2].map(() => runHost({ version: '4.6.0', style: 'named', body })));
    const names = (seen: Seen | undefined) => seen?.rows('all').map(({ name }) => name.replace(/run-\w+/, 'run'));
    expect(names(one)).toEqual(names(two));
    expect(names(one)?.[0]).toBe('run/host.mjs#x');
  });
});

describe.concurrent.each(V4)('background tasks of %s', (version) => {
  it.each(['cjs', 'default'] as const)('runs a file named relative to the host (%s)', async (style) => {
    const body = `${OPERATE}
      require('node:fs').writeFileSync(require('node:path').join(process.cwd(), 'task.cjs'), 'exports.task = () => "from the child";');
      const task = cron.createTask(every, './task.cjs', { name: 'behind' });
      let at = 0;
      await rows('node-cron', 'created');
      await attempt('idle', () => scheduler().trigger('behind'));
      await task.start();
      await rows('node-cron', 'started');
      let done = 0;
      task.on('execution:finished', () => { done += 1; });
      await until(() => done > 0);
      await attempt('trigger', () => scheduler().trigger('behind'));
      await task.stop();
      await rows('node-cron', 'stopped');
      process.exit(0);`;
    const imports =
      style === 'cjs'
        ? ''
        : `const { createRequire } = await import('node:module'); const require = createRequire(import.meta.url);`;
    const seen = await runHost({ version, style, body: imports + body });
    expect(seen.code, seen.stderr + seen.stdout).toBe(0);
    const [run] = seen.runs('behind');
    expect(run).toEqual(['received', 'started', 'succeeded']);
    expect(ofSchedule(seen, 'behind', 'task.succeeded')[0]?.data).toMatchObject({
      result: 'from the child',
      runtime_ms: expect.any(Number),
    });
    expect(['created', 'started', 'stopped'].map((label) => seen.rows(label)[0]?.enabled)).toEqual([
      false,
      true,
      false,
    ]);
    expect(value(seen, 'idle')).toMatchObject({ code: 'conflict' });
    expect(value(seen, 'trigger')).toMatchObject({ ok: { task_id: expect.any(String), state: 'success' } });
  });
});

it.concurrent.each(['4.3.0', '4.6.0'])(
  'a run of %s that outlives its executeTimeout has one end, its own',
  async (version) => {
    const body = `${OPERATE}
    require('node:fs').writeFileSync(require('node:path').join(process.cwd(), 'slow.cjs'),
      'exports.task = () => new Promise((done) => setTimeout(done, 700, "at last"));');
    const task = cron.createTask(far, './slow.cjs', { name: 'slow', executeTimeout: 150 });
    await task.start();
    let ended = 0;
    task.on('execution:finished', () => { ended += 1; });
    await task.execute().catch(({ message }) => print({ refused: message }));
    print({ endedThen: ended });
    await until(() => ended > 0);
    await task.stop();
    process.exit(0);`;
    const seen = await runHost({ version, style: 'cjs', body });
    expect(seen.code, seen.stderr + seen.stdout).toBe(0);
    expect([value(seen, 'refused'), value(seen, 'endedThen')]).toEqual(['Execution timeout exceeded', 0]);
    expect(seen.runs('slow')).toEqual([['received', 'started', 'succeeded']]);
    expect(ofSchedule(seen, 'slow', 'task.succeeded')[0]?.data.result).toBe('at last');
  },
);

describe.concurrent.each(['4.2.1', '4.5.0', '4.6.0'])('lost background tasks of %s', (version) => {
  it('fails the open run once', async () => {
    const body = `${OPERATE}
      const fs = require('node:fs');
      fs.writeFileSync('task.cjs', 'exports.task = () => { setTimeout(() => process.exit(3), 100); return new Promise(() => {}); };');
      const task = cron.schedule(every, './task.cjs', { name: 'dies' });
      await until(() => task.forkProcess);
      const child = task.forkProcess;
      await until(() => child.exitCode !== null);
      await sleep(200);
      await task.stop();
      process.exit(0);`;
    const seen = await runHost({ version, style: 'cjs', body });
    expect(seen.runs('dies'), seen.stderr).toEqual([['received', 'started', 'failed']]);
    expect(ofSchedule(seen, 'dies', 'task.failed')[0]?.data.exception).toMatch(/code 3/);
  });

  it('says so when a stopped one is not destroyed', async () => {
    const body = `${OPERATE}
      require('node:fs').writeFileSync('task.cjs', 'exports.task = () => 1;');
      cron.createTask(far, './task.cjs', { name: 'idle' });
      await attempt('delete', () => scheduler().delete('idle'));
      await rows('node-cron', 'left');
      process.exit(0);`;
    const seen = await runHost({ version, style: 'cjs', body });
    if (since(version, '4.6.0')) {
      expect(value(seen, 'delete')).toEqual({ ok: null });
      expect(seen.rows('left')).toEqual([]);
    } else {
      expect(value(seen, 'delete')).toMatchObject({ code: 'failed', error: expect.stringContaining('stays disabled') });
      expect(seen.rows('left')).toHaveLength(1);
    }
  });
});

describe.concurrent.each(LATE)('missed runs of %s', (version) => {
  it('are told as one, and the warning is still printed', async () => {
    const body = `${OPERATE}
      const task = cron.schedule(every, () => {}, { name: 'blocked' });
      await sleep(1100);
      const end = Date.now() + 3200;
      while (Date.now() < end);
      await sleep(1200);
      task.stop();`;
    const seen = await runHost({ version, style: 'named', body });
    expect(seen.stderr + seen.stdout).toContain('missed execution');
    const missed = ofSchedule(seen, 'blocked', 'task.revoked');
    expect(missed).toHaveLength(1);
    expect(missed[0]?.data).toMatchObject({
      missed: expect.any(Number),
      reason: expect.stringMatching(/^missed [23] runs/),
    });
  });
});

it.concurrent('both copies of one process are known, each once', async () => {
  for (const version of ['4.2.1', '4.6.0']) {
    const body = `${OPERATE}
      const { createRequire } = await import('node:module');
      const other = createRequire(import.meta.url)('node-cron');
      const a = cron.schedule(every, () => 1, { name: 'esm' });
      const b = other.schedule(every, () => 2, { name: 'cjs' });
      await until(() => false || (a.done = (a.done ?? 0) + 1) > 80);
      await rows('node-cron', 'all');
      a.stop(); b.stop();`;
    const seen = await runHost({ version, style: 'named', body });
    expect(seen.rows('all').map(({ name }) => name)).toEqual(['esm', 'cjs']);
    for (const name of ['esm', 'cjs']) expect(seen.runs(name)[0]).toEqual(['received', 'started', 'succeeded']);
  }
});

describe.concurrent.each(['4.1.1', '4.4.1', '4.6.0'])('overlaps of %s', (version) => {
  it('are prevented runs with noOverlap and noted otherwise', async () => {
    const body = `${OPERATE}
      const slow = () => sleep(2300);
      const tasks = [cron.schedule(every, slow, { name: 'alone', noOverlap: true }), cron.schedule(every, slow, { name: 'together' })];
      await sleep(3300);
      await attempt('trigger', () => scheduler().trigger('alone'));
      for (const task of tasks) task.stop();`;
    const seen = await runHost({ version, style: 'cjs', body });
    const skipped = ofSchedule(seen, 'alone', 'task.revoked');
    expect(skipped.length, seen.stdout).toBeGreaterThanOrEqual(1);
    expect(skipped[0]?.data.reason).toMatch(/^overlap: the run before/);
    const together = ofSchedule(seen, 'together', 'task.started').map(({ data }) => data.overlaps ?? false);
    expect(together[0]).toBe(false);
    expect(together).toContain(true);
    expect(
      ofSchedule(seen, 'together', 'task.revoked').filter(({ data }) => /^overlap/.test(String(data.reason))),
    ).toEqual([]);
  });
});

it.concurrent('4.0: a schedule blocked for good by a failed run says which version to take', async () => {
  const body = `${OPERATE}
    const task = cron.schedule(every, () => { throw new Error('once'); }, { name: 'stuck', noOverlap: true });
    await sleep(2400);
    task.stop();
    process.exit(0);`;
  const seen = await runHost({ version: '4.0.7', style: 'cjs', body });
  expect(ofSchedule(seen, 'stuck', 'task.revoked')[0]?.data.reason).toContain('upgrade to 4.1');
});

describe.concurrent.each(['4.2.1', '4.6.0'])('ends of %s', (version) => {
  it('maxExecutions: completed, then deleted because of it', async () => {
    const body = `${OPERATE}
      const { registry } = globalThis[Symbol.for('z4j.bare.node-cron.registry')] ? { registry: globalThis[Symbol.for('z4j.bare.node-cron.registry')] } : {};
      registry.listeners.add(({ kind, cause, entry }) => print({ change: [kind, entry.name, cause] }));
      cron.schedule(every, () => 1, { name: 'twice', maxExecutions: 2 });
      await sleep(3300);
      await rows('node-cron', 'left');`;
    const seen = await runHost({ version, style: 'cjs', body });
    expect(seen.runs('twice').length).toBe(2);
    expect(seen.rows('left')).toEqual([]);
    const changes = seen.values.flatMap(({ change }) => (change ? [change] : []));
    expect(changes).toContainEqual(['deleted', 'twice', 'max executions']);
  });

  it('maxRandomDelay: due before the delay; a stop inside of it leaves no open run', async () => {
    const body = `${OPERATE}
      const task = cron.schedule(every, () => 1, { name: 'later', maxRandomDelay: 60000 });
      await until(() => engineRuns() > 0);
      function engineRuns() { return globalThis[Symbol.for('z4j.bare.node-cron.registry')].entries.get('later').runs.size; }
      task.stop();
      print({ open: engineRuns() });
      process.exit(0);`;
    const seen = await runHost({ version, style: 'cjs', body });
    const [run] = seen.runs('later');
    // Up to 4.5 the run still happens.
    expect(run).toEqual(since(version, '4.6.0') ? ['received', 'revoked'] : ['received']);
    expect(value(seen, 'open')).toBe(since(version, '4.6.0') ? 0 : 1);
  });
});

it.concurrent('shutdown() of 4.6 is no deletion', async () => {
  for (const style of ['cjs', 'default', 'star'] as const) {
    const body = `${OPERATE}
      const { listeners } = globalThis[Symbol.for('z4j.bare.node-cron.registry')] ?? {};
      cron.schedule(far, () => 1, { name: 'stays' });
      globalThis[Symbol.for('z4j.bare.node-cron.registry')].listeners.add(({ kind }) => print({ change: kind }));
      await cron.shutdown();
      await rows('node-cron', 'after');
      cron.schedule(far, () => 1, { name: 'new' }).stop();
      await rows('node-cron', 'again');`;
    const seen = await runHost({ version: '4.6.0', style, body });
    expect(seen.rows('after')).toMatchObject([{ name: 'stays', enabled: true }]);
    expect(seen.rows('again').map(({ name }) => name)).toEqual(['new']);
    expect(seen.values.flatMap(({ change }) => change ?? [])).toEqual(['defined', 'disabled']);
  }
});

/** 4.0 has no next run in the first hour of a zone's day. */
const hourIn = (zone: string): string => new Date().toLocaleString('en-GB', { timeZone: zone, hour: '2-digit' });
const zone = ['00', '23'].includes(hourIn('America/New_York')) ? 'Asia/Tokyo' : 'America/New_York';
/** Half a day from the noon of every host: what is further away than 24 days lets 4.0 spin. */
const away = '0 0 * * *';

describe.concurrent.each(['2.0.3', '3.0.3', ...V4])('commands on %s', (version) => {
  const old = !since(version, '4.0.0');

  it('trigger, disable, enable, update, create, delete', async () => {
    const body = `${OPERATE}
      let n = 0;
      const task = cron.schedule('${away}', async () => { const mine = ++n; await sleep(mine === 1 ? 80 : 20); return 'run' + mine; }, { name: 'job' });
      const bad = cron.schedule('${away}', async () => { throw new Error('no luck'); }, { name: 'bad' });
      process.on('unhandledRejection', (error) => print({ unhandled: String(error) }));
      const count = () => bad.emitter?.listenerCount('execution:finished') ?? 0;
      const before = count();
      await Promise.all([attempt('first', () => scheduler().trigger('job')), attempt('second', () => scheduler().trigger('job'))]);
      await attempt('bad', () => scheduler().trigger('bad'));
      await attempt('bad', () => scheduler().trigger('bad'));
      print({ leaked: count() - before });
      await attempt('submit', () => execute('node-cron', 'submit_task', { task_name: 'job', args: [], kwargs: {}, fire_id: 'f' }));
      await attempt('arguments', () => execute('node-cron', 'submit_task', { task_name: 'job', args: [1], kwargs: {} }));
      await attempt('disable', () => scheduler().update('job', { enabled: false }));
      await rows('node-cron', 'disabled');
      await attempt('whileDisabled', () => scheduler().trigger('job'));
      await attempt('enable', () => scheduler().update('job', { enabled: true }));
      await rows('node-cron', 'enabled');
      await attempt('update', () => scheduler().update('job', { expression: '30 4 * * *', timezone: '${zone}' }));
      await rows('node-cron', 'updated');
      await attempt('invalid', () => scheduler().update('job', { expression: '0 0 15W * *' }));
      await attempt('create', () => scheduler().create({ name: 'made', taskName: 'job', expression: '0 5 * * *' }));
      await rows('node-cron', 'created');
      await attempt('delete', () => scheduler().delete('made'));
      await attempt('deleteCode', () => scheduler().delete('bad'));
      await attempt('enableDestroyed', () => scheduler().update('bad', { enabled: true }));
      await rows('node-cron', 'left');
      task.stop();`;
    const seen = await runHost({ version, style: 'cjs', body });
    expect(seen.code, seen.stderr + seen.stdout).toBe(0);
    expect(value(seen, 'unhandled')).toBeUndefined();
    expect(value(seen, 'leaked')).toBe(0);
    const ids = ['first', 'second', 'submit', 'whileDisabled'].map(
      (key) => (value(seen, key) as { ok: { task_id: string } }).ok.task_id,
    );
    expect(new Set(ids).size).toBe(4);
    const results = ids.map(
      (id) => seen.events.find(({ taskId, kind }) => taskId === id && kind === 'task.succeeded')?.data.result,
    );
    expect(results).toEqual(['run1', 'run2', 'run3', 'run4']);
    expect(value(seen, 'bad')).toMatchObject({ code: 'failed', error: expect.stringContaining('no luck') });
    expect(value(seen, 'arguments')).toMatchObject({ code: 'unsupported' });
    const job = (label: string) => seen.rows(label).find(({ name }) => name === 'job');
    expect(job('disabled')).toMatchObject({ enabled: false });
    expect(job('enabled')).toMatchObject({ enabled: true });
    if (version === '2.0.3') {
      expect(value(seen, 'update')).toMatchObject({ code: 'unsupported' });
    } else {
      expect(value(seen, 'update')).toEqual({ ok: null });
      expect(job('updated')).toMatchObject({ expression: '30 4 * * *', timezone: zone, enabled: true });
      const clock = new Intl.DateTimeFormat('en-GB', { timeZone: zone, timeStyle: 'short' });
      // 4.0.0 tells wrong times itself; they are passed on as they are.
      if (version !== '4.0.0') expect(clock.format(job('updated')?.nextRunAt)).toBe('04:30');
    }
    expect(value(seen, 'invalid')).toMatchObject(
      version === '2.0.3' || !since(version, '4.6.0') ? { code: 'invalid' } : { ok: null },
    );
    expect(seen.rows('created').find(({ name }) => name === 'made')).toMatchObject({
      taskName: 'job',
      source: 'node-cron:operator',
      enabled: true,
    });
    expect(value(seen, 'delete')).toEqual({ ok: null });
    expect(value(seen, 'enableDestroyed')).toMatchObject({ code: 'not_found' });
    expect(seen.rows('left').map(({ name }) => name)).toEqual(['job']);
    expect(old || seen.runs('job').every((run) => run.length === 3)).toBe(true);
  });
});

describe.concurrent.each(['2.0.3', '3.0.3', '4.2.1', '4.6.0'])('what an operator wants on %s', (version) => {
  it('is in force when the defining call returns, and for what is defined already', async () => {
    const body = `${OPERATE}
      const early = cron.schedule(far, () => 1, { name: 'early' });
      scheduler().onDefined(({ name }) => (name === 'plain' ? undefined : { enabled: false, ...(name === 'moved' && { expression: '1 2 3 4 *' }) }));
      const late = cron.schedule(far, () => 1, { name: 'late' });
      const moved = cron.schedule(far, () => 1, { name: 'moved' });
      const plain = cron.schedule(far, () => 1, { name: 'plain' });
      await rows('node-cron', 'all');
      plain.stop();`;
    const seen = await runHost({ version, style: 'cjs', body });
    expect(seen.rows('all').map(({ name, enabled }) => [name, enabled])).toEqual([
      ['early', false],
      ['late', false],
      ['moved', false],
      ['plain', true],
    ]);
    expect(seen.rows('all')[2]?.expression).toBe(version === '2.0.3' ? '0 0 1 1 *' : '1 2 3 4 *');
    if (version === '2.0.3')
      expect(value(seen, 'warning')).toMatchObject({ message: expect.stringContaining('as its code says') });
  });
});

describe.concurrent.each(['3.0.3', '4.2.1', '4.6.0'])('the host of %s', (version) => {
  it('ends when nothing is started, and runs see no context of the schedule call', async () => {
    const body = `${OPERATE}
      const { AsyncLocalStorage } = require('node:async_hooks');
      const context = new AsyncLocalStorage();
      const task = context.run('leaked', () => cron.schedule(every, () => String(context.getStore()), { name: 'context' }));
      await sleep(1300);
      task.stop();`;
    const seen = await runHost({ version, style: 'cjs', body });
    expect(seen.code).toBe(0);
    expect(ofSchedule(seen, 'context', 'task.succeeded')[0]?.data.result).toBe('undefined');
  });

  it('makes tasks that were there before the patch known', async () => {
    const body = `${OPERATE}
      const path = require.resolve('node-cron');
      const { _compile } = module.constructor.prototype;
      z4j.hub.enabled = () => false;
      delete require.cache[path];
      for (const key of Object.keys(require.cache)) if (key.includes('node-cron')) delete require.cache[key];
      globalThis.scheduledTasks?.clear();
      const fresh = require('node-cron');
      const task = fresh.schedule(every, () => 5, { name: 'before' });
      z4j.hub.enabled = () => true;
      const { nodeCronPatch } = await import(${JSON.stringify(new URL('../../../dist/instrumentations/node-cron/patch.js', import.meta.url).href)});
      z4j.hub.offer(nodeCronPatch, fresh, { package: 'node-cron', version: '${version}', file: path }, 'cache');
      await sleep(1300);
      await rows('node-cron', 'all');
      task.stop();`;
    const seen = await runHost({ version, style: 'cjs', body });
    expect(seen.code, seen.stderr).toBe(0);
    expect(seen.rows('all').map(({ name }) => name)).toEqual(['before']);
    expect(seen.runs('before')[0]).toEqual(['received', 'started', 'succeeded']);
  });
});

it.concurrent('4.6: a schedule that keeps no process alive still keeps none', async () => {
  const body = `${OPERATE}
    cron.schedule(far, () => {}, { name: 'quiet', unref: true });
    await rows('node-cron', 'all');`;
  const seen = await runHost({ version: '4.6.0', style: 'cjs', body });
  expect(seen.code, seen.stderr).toBe(0);
  expect(seen.rows('all')).toMatchObject([{ name: 'quiet', enabled: true }]);
});

it.concurrent('4.4+: slots that others of the fleet were elected for are counted, not told', async () => {
  for (const version of ['4.4.1', '4.6.0']) {
    const body = `${OPERATE}
      const runCoordinator = { shouldRun: async () => false };
      const task = cron.schedule(every, () => 1, { name: 'elected', distributed: true, runCoordinator });
      const broken = cron.schedule(every, () => 1, { name: 'broken', distributed: true, runCoordinator: { shouldRun: async () => { throw new Error('down'); } } });
      await sleep(2300);
      print({ health: await engine('node-cron').health() });
      task.stop(); broken.stop();`;
    const seen = await runHost({ version, style: 'cjs', body });
    expect(seen.runs('elected')).toEqual([]);
    const health = value(seen, 'health') as { workers: { test: { stats: { skipped: { elected: number } } } } };
    expect(health.workers.test.stats.skipped.elected).toBeGreaterThanOrEqual(1);
    expect(ofSchedule(seen, 'broken', 'task.revoked')[0]?.data.reason).toBe('the run coordinator failed');
  }
});

describe.concurrent.each(['4.5.0', '4.6.0'])('background tasks of %s', (version) => {
  it('fails the run whose result its child could not send', async () => {
    const body = `${OPERATE}
      require('node:fs').writeFileSync('task.cjs', 'exports.task = () => 10n;');
      const task = cron.schedule(every, './task.cjs', { name: 'big' });
      await sleep(2600);
      await task.stop();
      process.exit(0);`;
    const seen = await runHost({ version, style: 'cjs', body });
    const [first] = seen.runs('big');
    // 4.6 goes on: that the run ended is known to its child only.
    if (since(version, '4.6.0')) expect(first?.slice(0, 2)).toEqual(['received', 'started']);
    else expect(first).toEqual(['received', 'started', 'failed']);
  });
});

describe.concurrent.each(['4.2.1', '4.6.0'])('beside others on %s', (version) => {
  it('works with a Sentry that wraps the library', async () => {
    const body = `${OPERATE}
      const Sentry = require('@sentry/node');
      const lib = Sentry.cron.instrumentNodeCron(cron);
      const inline = lib.schedule(every, () => 1, { name: 'watched' });
      await sleep(2100);
      process.exit(0);`;
    const seen = await runHost({ version, style: 'cjs', body, beside: { '@sentry/node': '11.12.0' } });
    expect(seen.code, seen.stderr).toBe(0);
    expect(seen.runs('watched')[0], seen.stderr).toEqual(['received', 'started', 'succeeded']);
  });

  it('a second copy of this package changes nothing', async () => {
    const copy = new URL('../../../dist/instrumentations/node-cron/patch.js?second', import.meta.url).href;
    const body = `${OPERATE}
      const { nodeCronPatch } = await import('${copy}');
      z4j.hub.offer(nodeCronPatch, require('node-cron'), { package: 'node-cron', version: '${version}', file: '' }, 'cache');
      const task = require('node-cron').schedule(every, () => 1, { name: 'once' });
      await sleep(1300);
      await rows('node-cron', 'all');
      task.stop();`;
    const seen = await runHost({ version, style: 'cjs', body });
    expect(seen.rows('all')).toHaveLength(1);
    expect(seen.runs('once')[0]).toEqual(['received', 'started', 'succeeded']);
  });
});
