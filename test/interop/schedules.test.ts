import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Agent } from '../../src/agent.js';
import { type Brain, type BrainProject, hasBrain, type MintedAgent, startBrain } from '../support/brain.js';
import { MemoryEngine, operator } from '../support/schedules.js';

describe.runIf(hasBrain())('schedules of an engine in a live brain', () => {
  let home: string;
  let brain: Brain;
  let project: BrainProject;
  let minted: MintedAgent;
  let agent: Agent;
  const engine = new MemoryEngine();

  const connect = async (): Promise<Agent> => {
    const made = new Agent({
      token: minted.token,
      hmacSecret: minted.secret,
      brainUrl: minted.env.Z4J_BRAIN_URL,
      projectId: project.slug,
      serviceName: 'shop',
      agentName: 'depot',
      home,
      logLevel: 'debug',
    });
    made.registerEngine(engine);
    await made.start();
    return made;
  };

  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'z4j-schedules-'));
    brain = await startBrain();
    project = await brain.project('schedules');
    minted = await project.mintAgent('depot');
    engine.define('nightly', { kind: 'cron', expression: '0 3 * * *', timezone: 'Europe/Oslo', args: [1, 'x'] });
    engine.define('tick', { expression: '30', kwargs: { ratio: 0.5 } });
    agent = await connect();
  });

  afterAll(async () => {
    await agent?.stop();
    await brain?.dispose();
    await rm(home, { recursive: true, force: true });
  });

  test('rows appear', async () => {
    const rest = operator(project);
    await rest.names(['nightly', 'tick']);
    console.log(JSON.stringify(await project.schedules(), null, 1));
    console.log(JSON.stringify(await project.rest.get(`/projects/${project.slug}/schedules/native-capabilities`)));
  });

  test('operations', async () => {
    const rest = operator(project);
    console.log('disable', JSON.stringify(await rest.press('tick', 'disable')));
    await rest.until('tick', (row) => row?.is_enabled === false);
    expect(engine.schedules.get('tick')?.enabled).toBe(false);
    console.log('enable', JSON.stringify(await rest.press('tick', 'enable')));
    await rest.until('tick', (row) => row?.is_enabled === true);
    console.log('trigger', JSON.stringify(await rest.press('tick', 'trigger')));
    await rest.until('tick', (row) => row?.total_runs === 1);
    console.log(
      'create',
      JSON.stringify(
        await rest.native('create', undefined, {
          name: 'made',
          task_name: 'report',
          kind: 'cron',
          expression: '*/5 * * * *',
          timezone: 'UTC',
          args: [],
          kwargs: {},
          is_enabled: true,
        }),
      ),
    );
    console.log('update', JSON.stringify(await rest.native('update', 'made', { expression: '*/7 * * * *' })));
    console.log('delete', JSON.stringify(await rest.native('delete', 'made')));
    await rest.names(['nightly', 'tick']);
    console.log(
      JSON.stringify(await project.rest.get(`/projects/${project.slug}/commands?limit=50`), null, 1).slice(0, 9000),
    );
  });
});
