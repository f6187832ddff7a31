import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Brain, type BrainProject, hasBrain, type MintedAgent, type Row, startBrain } from '../support/brain.js';
import { type Child, runChild } from '../support/child.js';
import { waitFor } from '../support/net.js';
import { type Redis, startRedis } from '../support/redis.js';
import { installTarget } from '../support/targets.mjs';

const PROGRAM = fileURLToPath(new URL('./fixtures/fires.mjs', import.meta.url));
const TARGET = { agenda: '6.2.6', '@agendajs/redis-backend': '3.0.7', 'node-cron': '4.6.0' };
const patient = { timeout: 100_000, interval: 500 };

interface Case {
  readonly engine: 'agenda' | 'node-cron';
  readonly task: string;
  readonly args: readonly unknown[];
  /** What the host prints of a run; the task id is the first group. */
  readonly line: RegExp;
}

const CASES: readonly Case[] = [
  { engine: 'agenda', task: 'mail', args: [{ to: 'Ada' }], line: /^ran agenda \{"to":"Ada"\} (\S+)$/gm },
  { engine: 'node-cron', task: 'tidy', args: [], line: /^ran node-cron (\S+)$/gm },
];

describe.runIf(hasBrain())('schedules that the brain owns', () => {
  let redis: Redis;
  let server: Brain;
  let brain: BrainProject;
  let agent: MintedAgent;
  let home: string;
  let folder: string;
  const children: Child[] = [];

  const commands = async (action: string, engine: string): Promise<Row[]> => {
    const { items } = await brain.rest.get(`/projects/${brain.slug}/commands?limit=200`);
    return items.filter((row: Row) => row.action === action && JSON.stringify(row.payload).includes(`"${engine}"`));
  };
  const post = (path: string, body: object): Promise<Row> => brain.rest.post(`/projects/${brain.slug}/${path}`, body);
  const start = async (): Promise<Child> => {
    const settings = { Z4J_AGENT_NAME: 'depot', Z4J_SERVICE_NAME: 'shop', Z4J_HOME: home, REDIS_URL: redis.url };
    const child = await runChild({ target: folder, program: PROGRAM, env: { ...agent.env, ...settings } });
    children.push(child);
    await child.printed('ready', 40_000);
    return child;
  };
  const online = (engine: string): Promise<void> =>
    waitFor(async () => (await brain.agent(agent.agentId)).capabilities?.[engine]?.includes('submit_task'), patient);
  /** Task ids of all runs that any host printed. */
  const ran = ({ line }: Case): string[] =>
    children.flatMap((child) => [...child.stdout().matchAll(line)].map(([, id]) => id as string));

  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'z4j-fires-'));
    [folder, redis, server] = await Promise.all([
      installTarget('fires', TARGET),
      startRedis(),
      startBrain({ env: { Z4J_EMBEDDED_SCHEDULER: 'true' } }),
    ]);
    brain = await server.project('fires');
    agent = await brain.mintAgent('depot');
    await start();
  });

  afterAll(async () => {
    for (const child of children) await child[Symbol.asyncDispose]();
    await server?.dispose();
    await redis?.stop();
    await rm(home, { recursive: true, force: true });
  });

  test.each(CASES)('$engine: fire once for each time, also over a restart, and run now', async (of) => {
    const { engine, task, args } = of;
    await online(engine);
    const own = { name: `often ${engine}`, engine, task_name: task, kind: 'interval', expression: '4', args };
    const schedule = await post('schedules', { ...own, kwargs: {} });
    const fired = async (): Promise<Row[]> =>
      (await commands('schedule.fire', engine)).filter(({ status }) => status === 'completed');
    const what = async (): Promise<string> =>
      JSON.stringify([await commands('schedule.fire', engine), children.at(-1)?.stderr()]);
    let seen = '';
    const count = async (least: number): Promise<void> => {
      const enough = async (): Promise<boolean> => {
        seen = await what();
        return (await fired()).length >= least;
      };
      await waitFor(enough, { ...patient, what: () => seen });
    };
    await count(2);
    children.at(-1)?.kill('SIGTERM');
    await children.at(-1)?.ended();
    await start();
    await count(3);
    await post(`schedules/${schedule.id}/disable`, {});
    const open = async (): Promise<number> =>
      (await commands('schedule.fire', engine)).filter(({ status }) => /pending|dispatched/.test(status)).length;
    await waitFor(async () => (await open()) === 0, patient);
    await post(`schedules/${schedule.id}/trigger`, {});
    await waitFor(async () => (await commands('submit_task', engine))[0]?.status === 'completed', patient);

    const rows = [...(await fired()), ...(await commands('submit_task', engine))];
    const results = await Promise.all(
      rows.map(async ({ id }) => (await brain.rest.get(`/projects/${brain.slug}/commands/${id}`)).result),
    );
    const ids = results.map((result) => result.task_id as string);
    await waitFor(async () => ran(of).length >= ids.length, { ...patient, what: () => `${ran(of)} of ${ids}` });
    expect(ran(of).sort()).toEqual([...ids].sort());
    expect(new Set(ids).size).toBe(ids.length);
    const fires = new Set((await fired()).map(({ payload }) => payload.fire_id ?? payload.parameters?.fire_id));
    expect(fires.size).toBe((await fired()).length);
    expect(await brain.task(engine, ids[0] as string)).toMatchObject({ name: task });
  });
});
