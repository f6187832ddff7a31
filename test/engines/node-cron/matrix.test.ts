import { describe, expect, it, vi } from 'vitest';
import { runHost, type Style, since, VERSIONS } from './hosts.js';

// Several programs share a machine that may be busy.
vi.setConfig({ testTimeout: 180_000 });

const styles = (version: string): Style[] =>
  version === '2.0.3' || version === '4.0.0' ? ['cjs', 'default', 'star'] : ['cjs', 'default', 'named', 'star'];

const BODY = `
  const { print, rows, sleep } = z4j;
  const every = '* * * * * *';
  const tasks = [
    cron.schedule(every, () => 42, { name: 'sync' }),
    cron.schedule(every, async () => ({ answer: 42 }), { name: 'async' }),
    cron.schedule(every, () => { throw new TypeError('thrown'); }, { name: 'throws' }),
    cron.schedule(every, async () => { throw new Error('rejected'); }, { name: 'rejects' }),
    cron.schedule(every, () => { throw undefined; }, { name: 'undefined' }),
    cron.schedule(every, function tick() {}),
    cron.schedule('0 0 1 1 *', () => {}),
    cron.schedule('0 0 1 1 *', () => {}),
    cron.schedule('0 0 1 1 *', () => {}, { name: 'twice' }),
    cron.schedule('0 0 1 1 *', () => {}, { name: 'twice' }),
    cron.schedule('0 0 1 1 *', () => {}, { name: 'off', scheduled: false }),
  ];
  if (cron.createTask) tasks.push(cron.createTask('0 0 1 1 *', () => {}, { name: 'created' }));
  await rows('node-cron', 'defined');
  print({ length: cron.schedule.length });
  await sleep(2400);
  tasks[0].stop();
  await rows('node-cron', 'stopped');
  tasks[0].start();
  await rows('node-cron', 'started');
  for (const task of tasks) { task.stop(); task.destroy?.(); }
  await rows('node-cron', 'destroyed');
`;

describe.concurrent.each(VERSIONS.flatMap((version) => styles(version).map((style) => ({ version, style }))))(
  'node-cron $version, $style',
  ({ version, style }) => {
    it('tells every run once, and every schedule', async () => {
      const seen = await runHost({ version, style, body: BODY });
      const old = !since(version, '4.0.0');
      expect(seen.code, seen.stderr).toBe(0);
      const each = (name: string, kinds: string[]): void => {
        // A busy machine misses slots.
        const runs = seen.runs(name).filter(([first]) => first !== 'revoked');
        expect(runs.length, `${name}\n${seen.stdout}`).toBeGreaterThanOrEqual(1);
        expect(runs.length).toBeLessThanOrEqual(4);
        for (const run of runs) expect(run).toEqual(kinds);
      };
      each('sync', ['received', 'started', 'succeeded']);
      each('async', ['received', 'started', 'succeeded']);
      for (const name of ['throws', 'rejects', 'undefined']) each(name, ['received', 'started', 'failed']);
      const ended = (name: string) =>
        seen.events.find(({ kind, data }) => /succeeded|failed/.test(kind) && data.schedule === name);
      expect(ended('sync')).toMatchObject({
        taskId: expect.any(String),
        workerOf: '',
        data: { task_name: 'sync', result: 42 },
      });
      expect(ended('async')?.data).toMatchObject({ result: { answer: 42 }, runtime_ms: expect.any(Number) });
      expect(ended('throws')?.data).toMatchObject({
        exception: 'TypeError: thrown',
        traceback: expect.stringContaining('host.'),
      });
      expect(ended('rejects')?.data.exception).toBe('Error: rejected');
      expect(ended('undefined')?.data.exception).toBe('undefined');

      const file = style === 'cjs' ? 'host.cjs' : 'host.mjs';
      const defined = seen.rows('defined');
      const names = defined.map(({ name }) => name.replace(/^run-\w+\//, ''));
      expect(names).toEqual([
        'sync',
        'async',
        'throws',
        'rejects',
        'undefined',
        `${file}#tick`,
        `${file}#0 0 1 1 *`,
        `${file}#0 0 1 1 *~2`,
        'twice',
        'twice~2',
        'off',
        ...(old ? [] : ['created']),
      ]);
      for (const row of defined) {
        expect(row).toMatchObject({
          kind: 'cron',
          timezone: expect.any(String),
          totalRuns: expect.any(Number),
          source: 'node-cron:code',
        });
        // 4.x has no option `scheduled`.
        const off = row.name === 'created' || (row.name === 'off' && old);
        expect(row.enabled, row.name).toBe(!off);
        expect(row.nextRunAt === undefined).toBe(off);
      }
      const enabled = (label: string) => seen.rows(label).find(({ name }) => name === 'sync')?.enabled;
      expect(enabled('stopped')).toBe(false);
      expect(enabled('started')).toBe(true);
      const left = seen.rows('destroyed');
      if (version === '3.0.3') expect(left.every((row) => !row.enabled)).toBe(true);
      else expect(left).toEqual([]);
      expect(seen.values).toContainEqual({ length: 3 });
    });
  },
);
