import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Agent } from '../../../src/agent.js';
import { type StubBrain, stubBrain } from '../../../src/testing/index.js';
import { MemoryEngine } from '../../support/schedules.js';

const OWNER = 'shop-memory';

describe('an agent with schedules at a stub brain', () => {
  let home: string;
  let brain: StubBrain;
  let agent: Agent;
  let engine: MemoryEngine;

  const start = async (brainVersion: string): Promise<void> => {
    brain = await stubBrain({ brainVersion });
    agent = new Agent({
      token: brain.token,
      hmacSecret: brain.secret.toString('base64url'),
      brainUrl: brain.url,
      serviceName: 'shop',
      home,
      logLevel: 'silent',
    });
    agent.registerEngine(engine);
    await agent.start();
  };

  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'z4j-schedules-'));
    engine = new MemoryEngine();
    engine.define('a', { args: ['ada@example.com', 1] });
  });
  afterEach(async () => {
    await agent.stop();
    await brain.close();
    rmSync(home, { recursive: true, force: true });
  });

  it('shows them, does what operators want, and goes on after a lost connection', async () => {
    await start('1.13.0');
    await brain.until(() => brain.schedules(OWNER).length === 1, 10_000);
    expect(brain.schedules()[0]).toMatchObject({ name: 'a', engine: 'memory', args: ['[REDACTED]', 1] });
    const disable = {
      scheduler: OWNER,
      operation: 'update',
      schedule: 'a',
      definition: { is_enabled: false },
    } as const;
    expect((await brain.operate(disable)).error).toBeUndefined();
    expect(engine.schedules.get('a')?.enabled).toBe(false);
    engine.define('b');
    await brain.until(() => brain.schedules(OWNER).length === 2, 10_000);
    engine.remove('a');
    brain.drop();
    await brain.until(
      () =>
        brain
          .schedules(OWNER)
          .map(({ name }) => name)
          .join() === 'b',
      10_000,
    );
    expect((await brain.operate({ scheduler: OWNER, operation: 'trigger', schedule: 'b' })).error).toBeUndefined();
    expect(engine.runs).toEqual(['b']);
    await expect(brain.operate({ scheduler: OWNER, operation: 'trigger', schedule: 'a' })).rejects.toThrow('404');
    expect(brain.refusals).toEqual([]);
  });

  it('says nothing of them to a brain of 1.8 to 1.12', async () => {
    await start('1.10.2');
    await brain.until(() => brain.hellos.length === 2, 10_000);
    expect(brain.hellos.map(({ schedulers }) => schedulers)).toEqual([[OWNER], []]);
    expect(brain.hellos[1]?.runtimeFeatures).not.toContain('external_schedule_protocol_v1');
    expect(brain.schedules()).toEqual([]);
    expect(brain.events.filter(({ kind }) => kind.startsWith('schedule.'))).toEqual([]);
  });

  it('tells them plainly to a brain before 1.8', async () => {
    await start('1.7.1');
    await brain.until(() => brain.schedules(OWNER).length === 1, 10_000);
    const target = { type: 'schedule', id: 'a' };
    const parameters = { schedule_id: 'a', schedule_name: 'a', external_id: null };
    const { status } = await brain.command({ action: 'schedule.disable', target, parameters });
    expect(status).toBe('success');
    await brain.until(() => brain.schedules(OWNER)[0]?.is_enabled === false, 10_000);
    expect(brain.hellos).toHaveLength(1);
  });
});
