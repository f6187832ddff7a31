import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Brain, type BrainProject, hasBrain, type MintedAgent, startBrain } from '../support/brain.js';
import { type Child, runChild } from '../support/child.js';
import { waitFor } from '../support/net.js';
import { type BadNetwork, startProxy } from '../support/proxy.js';
import { type Redis, startRedis } from '../support/redis.js';
import { target } from '../support/targets.mjs';
import { eventsOf, fate } from './fixtures/jobs.mjs';
import { type BullMQ, childHost, finished, type Host, loadBullMQ } from './host.js';

const fixture = (name: string): URL => new URL(`./fixtures/${name}`, import.meta.url);

/** A brain takes in about a hundred events a second. */
const COUNT = 24;
const STATES = { succeeds: 'success', fails: 'failure', flaky: 'success' } as const;

/** One story: a worker and a live brain with a bad network between them. */
describe.runIf(hasBrain())('a worker of a live brain', () => {
  const root = mkdtempSync(join(tmpdir(), 'z4j-live-'));
  let redis: Redis;
  let folder: string;
  let bullmq: BullMQ;
  let brain: Brain;
  let project: BrainProject;
  let minted: MintedAgent;
  let network: BadNetwork;
  let host: Host;
  let child: Child;
  let round = 0;

  const start = async (): Promise<void> => {
    child = await runChild({
      target: folder,
      program: fileURLToPath(fixture('worker.mjs')),
      args: [fixture('jobs.mjs').href, 'live', `${redis.port}`],
      env: {
        ...minted.env,
        Z4J_BRAIN_URL: network.url,
        Z4J_HOME: join(root, 'home'),
        Z4J_SERVICE_NAME: 's',
        Z4J_DELIVERY: 'complete',
      },
    });
    await child.printed('ready', 30_000);
  };

  beforeAll(async () => {
    [redis, folder, brain] = await Promise.all([startRedis(), target('bullmq-5.81.5'), startBrain()]);
    bullmq = loadBullMQ(folder);
    project = await brain.project('faults');
    minted = await project.mintAgent('live');
    network = await startProxy(brain.port);
    host = childHost(bullmq, redis.port, 'live');
    await start();
  });

  afterAll(async () => {
    await child?.[Symbol.asyncDispose]();
    await network?.close();
    await Promise.all([redis?.stop(), brain?.dispose()]);
    rmSync(root, { recursive: true, force: true });
  });

  const online = (): Promise<true> =>
    waitFor(async () => (await project.agent(minted.agentId)).state === 'online', { timeout: 40_000, interval: 200 });

  /** As with the stub brain: jobs before and during a fault; after it every row and event is there, once. */
  async function survive(begin: () => unknown, end: () => unknown = () => undefined): Promise<void> {
    const prefix = `j${++round}`;
    const ids = Array.from({ length: COUNT }, (_, number) => `live:${prefix}-${number}`);
    await online();
    const adding = host.add(prefix, COUNT);
    await waitFor(() => project.task('bullmq', ids[0] as string), { timeout: 20_000 });
    await begin();
    await adding;
    await finished(bullmq, redis.port, host, prefix, COUNT);
    await end();
    const expected = ids.map((id, number) => [id, STATES[fate(number)]]);
    let rows: unknown[] = [];
    const complete = async (): Promise<boolean> => {
      const states = new Map((await project.tasks({ search: prefix })).map((row) => [row.task_id, row.state]));
      rows = ids.map((id) => [id, states.get(id)]);
      return JSON.stringify(rows) === JSON.stringify(expected);
    };
    await waitFor(complete, { timeout: 60_000, interval: 300 }).catch(() => undefined);
    expect(rows).toEqual(expected);
    for (const [number, id] of ids.entries()) {
      const kinds = (await project.events('bullmq', id)).map(({ kind }) => kind);
      expect([id, kinds.sort()]).toEqual([id, [...eventsOf(fate(number))].sort()]);
      if (fate(number) === 'flaky') expect(await project.task('bullmq', id)).toMatchObject({ retry_count: 1 });
    }
  }

  test('survives connections that are reset', () => survive(() => network.reset()));

  test('survives a stall', () =>
    survive(
      () => network.trouble({ stall: 'both' }),
      () => network.trouble(),
    ));

  test.each(['up', 'down'] as const)('survives a frame cut in the middle on its way %s', (cut) =>
    survive(() => network.trouble({ cut })),
  );

  test.each(['SIGTERM', 'SIGKILL'] as const)('survives a brain that is restarted after %s', (signal) =>
    survive(
      () => brain.stop({ signal }),
      () => brain.start(),
    ),
  );

  test('survives a token that is revoked and minted again', () =>
    survive(
      () => project.rest('DELETE', `/projects/${project.slug}/agents/${minted.agentId}`),
      async () => {
        child.kill('SIGTERM');
        expect(await child.ended()).toEqual({ code: 0, signal: null });
        expect(child.stderr()).toContain('revoked the token');
        await child[Symbol.asyncDispose]();
        minted = await project.mintAgent('again');
        await start();
        await online();
      },
    ));
});
