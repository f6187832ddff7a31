import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { schedules as command } from '../../../src/cli/schedules.js';
import type { Schedule, ScheduleOverride, Scheduler } from '../../../src/engine.js';
import { createLog } from '../../../src/log.js';
import { type LastingScheduler, lasting, overridesKey, readDecisions } from '../../../src/schedules/overrides.js';
import { MemoryEngine } from '../../support/schedules.js';
import { memoryTexts } from './rig.js';

const until = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 5000, interval: 5 });
const open: LastingScheduler[] = [];
afterEach(() => {
  for (const each of open.splice(0)) each.close();
});

/** A process whose code defines schedules, as a library without a broker has them. */
function application(texts = memoryTexts()) {
  const engine = new MemoryEngine();
  const lines: string[] = [];
  let ask: ((schedule: Schedule, isStored?: boolean) => ScheduleOverride | undefined) | undefined;
  const apply = (name: string, { deleted, enabled, expression, timezone }: ScheduleOverride): void => {
    if (deleted) engine.schedules.delete(name);
    else {
      engine.set(name, {
        ...(enabled === undefined ? {} : { enabled }),
        ...(expression === undefined ? {} : { expression }),
        ...(timezone === undefined ? {} : { timezone }),
      });
    }
  };
  const scheduler: Scheduler = {
    ...engine.scheduler,
    onDefined(override) {
      ask = override;
      for (const schedule of [...engine.schedules.values()]) {
        const wanted = override(schedule);
        if (wanted !== undefined) apply(schedule.name, wanted);
      }
      return () => {
        ask = undefined;
      };
    },
    async applyOverride(name, override) {
      apply(name, override);
    },
  };
  const log = createLog({ level: 'warn', write: (line) => lines.push(line) });
  return {
    engine,
    lines,
    texts,
    /** The code of the application runs. */
    define(name: string, definition: Partial<Schedule> = {}): void {
      engine.define(name, { timezone: 'UTC', expression: '* * * * *', kind: 'cron', ...definition });
      const wanted = ask?.(engine.schedules.get(name) as Schedule);
      if (wanted !== undefined) apply(name, wanted);
    },
    start(): LastingScheduler {
      const made = lasting({ engine: 'memory', scheduler, texts, log, watchMs: 10 });
      open.push(made);
      return made;
    },
    /** The engine finds a schedule that code defined while nobody listened. */
    found: (name: string) => ask?.(engine.schedules.get(name) as Schedule, true),
    decisions: () => readDecisions(texts.get(overridesKey('memory'))),
  };
}

describe('what an operator decided', () => {
  it('is in force when code defines the schedule again, before and after the agent is there', async () => {
    const first = application();
    first.define('a');
    first.define('b');
    const scheduler = first.start();
    await scheduler.update('a', { enabled: false });
    await scheduler.update('b', { expression: '0 1 * * *', timezone: 'Europe/Oslo' });
    scheduler.close();
    const second = application(first.texts);
    second.define('a');
    second.start();
    second.define('b');
    expect(second.engine.schedules.get('a')).toMatchObject({ enabled: false, expression: '* * * * *' });
    expect(second.engine.schedules.get('b')).toMatchObject({ expression: '0 1 * * *', timezone: 'Europe/Oslo' });
    expect(second.lines).toEqual([]);
  });

  it('stays when code changes its mind, and one line says so', async () => {
    const first = application();
    first.define('a');
    const scheduler = first.start();
    await scheduler.update('a', { expression: '0 1 * * *' });
    scheduler.close();
    const second = application(first.texts);
    second.start();
    second.define('a', { expression: '0 2 * * *', timezone: 'Europe/Oslo' });
    second.define('a', { expression: '0 2 * * *', timezone: 'Europe/Oslo' });
    expect(second.engine.schedules.get('a')).toMatchObject({ expression: '0 1 * * *', timezone: 'Europe/Oslo' });
    expect(second.lines).toHaveLength(1);
    expect(second.lines[0]).toContain(
      'the code of a now says expression "0 2 * * *" (in force: "0 1 * * *"): what the operator set stays until `z4j-bare schedules reset a`',
    );
  });

  it('is told to an engine that keeps schedules, whose word is not that of code', async () => {
    const first = application();
    first.define('a');
    const scheduler = first.start();
    await scheduler.update('a', { enabled: false });
    scheduler.close();
    const second = application(first.texts);
    const again = second.start();
    second.engine.define('a', { enabled: false });
    expect(second.found('a')).toEqual({ enabled: false });
    expect(second.lines).toEqual([]);
    // What is stored was not taken for what code says: there is still something to decide.
    await again.update('a', { enabled: false });
    expect(second.decisions().overrides.a?.set).toEqual({ enabled: false });
  });

  it('is forgotten when it is what code says', async () => {
    const app = application();
    app.define('a');
    const scheduler = app.start();
    await scheduler.update('a', { enabled: false });
    await scheduler.update('a', { expression: '0 1 * * *' });
    expect(app.decisions().overrides.a?.set).toEqual({ enabled: false, expression: '0 1 * * *' });
    await scheduler.update('a', { enabled: true });
    expect(app.decisions().overrides.a).toMatchObject({
      set: { expression: '0 1 * * *' },
      code: { expression: '* * * * *' },
    });
    await scheduler.update('a', { expression: '* * * * *' });
    expect(app.decisions().overrides).toEqual({});
  });

  it('is not kept when the engine refused it', async () => {
    const app = application();
    const scheduler = app.start();
    await expect(scheduler.update('missing', { enabled: false })).rejects.toMatchObject({ code: 'not_found' });
    expect(app.decisions()).toEqual({ overrides: {}, created: {} });
  });

  it('deletes and creates anew at every start', async () => {
    const first = application();
    first.define('a');
    const scheduler = first.start();
    await scheduler.delete('a');
    await scheduler.create({ name: 'made', taskName: 'report', kind: 'cron', expression: '5 * * * *' });
    await scheduler.update('made', { expression: '6 * * * *' });
    scheduler.close();
    const second = application(first.texts);
    const again = second.start();
    second.define('a');
    await until(() => expect([...second.engine.schedules.keys()]).toEqual(['made']));
    expect(second.engine.schedules.get('made')).toMatchObject({ expression: '6 * * * *' });
    await again.delete('made');
    expect(second.decisions().created).toEqual({});
  });

  it('comes into force in siblings, and back', async () => {
    const texts = memoryTexts();
    const [here, there] = [application(texts), application(texts)];
    for (const app of [here, there]) app.define('a');
    const scheduler = here.start();
    there.start();
    await scheduler.update('a', { enabled: false, expression: '0 1 * * *' });
    await until(() =>
      expect(there.engine.schedules.get('a')).toMatchObject({ enabled: false, expression: '0 1 * * *' }),
    );
    await scheduler.update('a', { enabled: true });
    await until(() =>
      expect(there.engine.schedules.get('a')).toMatchObject({ enabled: true, expression: '0 1 * * *' }),
    );
    await scheduler.create({ name: 'made', taskName: 'report', expression: '5 * * * *' });
    await until(() => expect(there.engine.schedules.has('made')).toBe(true));
    await scheduler.delete('made');
    await until(() => expect(there.engine.schedules.has('made')).toBe(false));
  });

  it('survives a text that cannot be read', () => {
    const texts = memoryTexts();
    texts.set(overridesKey('memory'), '{"overr');
    const app = application(texts);
    app.start();
    app.define('a');
    expect(app.engine.schedules.get('a')).toMatchObject({ enabled: true });
  });

  it('is the engine’s affair where code defines nothing', async () => {
    const engine = new MemoryEngine();
    engine.define('a');
    const texts = memoryTexts();
    const scheduler = lasting({ engine: 'memory', scheduler: engine.scheduler, texts, log: createLog() });
    await scheduler.update('a', { enabled: false });
    expect(texts.all.size).toBe(0);
    scheduler.close();
  });
});

describe('z4j-bare schedules', () => {
  const run = async (home: string, ...words: string[]): Promise<{ code: number; out: string; err: string }> => {
    const [out, err] = [vi.spyOn(process.stdout, 'write'), vi.spyOn(process.stderr, 'write')];
    for (const spy of [out, err]) spy.mockReturnValue(true);
    vi.stubEnv('Z4J_HOME', home);
    try {
      const code = await command({ json: false, markdown: false }, words);
      const text = (spy: typeof out): string => spy.mock.calls.map(([chunk]) => String(chunk)).join('');
      return { code, out: text(out), err: text(err) };
    } finally {
      vi.unstubAllEnvs();
      out.mockRestore();
      err.mockRestore();
    }
  };

  it('lists and resets', async () => {
    const home = mkdtempSync(join(tmpdir(), 'z4j-home-'));
    try {
      expect(await run(home)).toMatchObject({ code: 0, out: 'Every schedule on this host is as its code says.\n' });
      const { mkdirSync, writeFileSync, readFileSync } = await import('node:fs');
      const folder = join(home, 'depot-1', 'shared');
      mkdirSync(folder, { recursive: true });
      const at = '2026-11-26T00:00:00.000Z';
      const set = { expression: '0 1 * * *' };
      const overrides = {
        a: { set, code: { expression: '* * * * *' }, at },
        b: { set: { deleted: true }, code: {}, at },
      };
      const file = join(folder, 'overrides%3Anode-cron.json');
      writeFileSync(file, JSON.stringify({ overrides, created: {} }));
      const { out } = await run(home);
      expect(out).toContain('node-cron a: expression "0 1 * * *" (code: "* * * * *"), since 2026');
      expect(out).toContain('node-cron b: deleted, since 2026');
      expect(await run(home, 'reset', 'a')).toMatchObject({
        code: 0,
        out: expect.stringContaining('as its code says'),
      });
      expect(Object.keys(JSON.parse(readFileSync(file, 'utf8')).overrides)).toEqual(['b']);
      expect(await run(home, 'reset', 'a')).toMatchObject({ code: 1 });
      expect(await run(home, 'what')).toMatchObject({ code: 2 });
    } finally {
      rmSync(home, { recursive: true });
    }
  });
});
