import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type StubBrain, stubBrain } from '../../src/testing/index.js';
import { type Child, runChild } from '../support/child.js';
import { waitFor } from '../support/net.js';
import { type BadNetwork, startProxy } from '../support/proxy.js';
import { type Redis, startRedis } from '../support/redis.js';
import { target } from '../support/targets.mjs';
import { Arrivals, type BullMQ, childHost, expectedOf, finished, type Host, loadBullMQ } from './host.js';

const fixture = (name: string): URL => new URL(`./fixtures/${name}`, import.meta.url);
const attempt = (command: string, ...parameters: string[]): boolean => {
  try {
    execFileSync(command, parameters, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};

const mountPoint = mkdtempSync(join(tmpdir(), 'z4j-home-'));
const mount = (options: string): boolean => attempt('mount', '-t', 'tmpfs', '-o', options, 'tmpfs', mountPoint);
const unmount = (): boolean => attempt('umount', '-l', mountPoint);
const mayMount = process.platform === 'linux' && mount('size=1m') && unmount();
if (!mayMount) console.warn('SKIPPED: a full disk and a read-only home need the right to mount a tmpfs');

let redis: Redis;
let folder: string;
let bullmq: BullMQ;
let root: string;
let brain: StubBrain;
let network: BadNetwork;
let arrivals: Arrivals;
const children: Child[] = [];

beforeAll(async () => {
  [redis, folder] = await Promise.all([startRedis(), target('bullmq-5.81.5')]);
  bullmq = loadBullMQ(folder);
});

afterAll(async () => {
  await redis?.stop();
  rmSync(mountPoint, { recursive: true, force: true });
});

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'z4j-home-'));
  brain = await stubBrain();
  network = await startProxy(Number(new URL(brain.url).port));
  arrivals = new Arrivals(brain);
});

afterEach(async () => {
  for (const child of children.splice(0)) await child[Symbol.asyncDispose]();
  await network.close();
  await brain.close();
  unmount();
  rmSync(root, { recursive: true, force: true });
});

async function run(program: string, args: readonly string[], home: string): Promise<Child> {
  const own = { Z4J_BRAIN_URL: network.url, Z4J_HOME: home, Z4J_SERVICE_NAME: 's', Z4J_DELIVERY: 'complete' };
  const env = { ...brain.env, ...own };
  const child = await runChild({ target: folder, program: fileURLToPath(fixture(program)), args, env });
  children.push(child);
  return child;
}

/** What the host does is as it would be without us, and what we say of it is one line. */
describe('a home', () => {
  const CODE = 3;
  let child: Child;
  let host: Host;

  const start = async (name: string, home: string): Promise<void> => {
    host = childHost(bullmq, redis.port, name);
    child = await run('worker.mjs', [fixture('jobs.mjs').href, name, `${redis.port}`, `${CODE}`], home);
    await child.printed('ready', 30_000);
  };
  const work = async (prefix: string, count: number): Promise<void> => {
    await host.add(prefix, count);
    await finished(bullmq, redis.port, host, prefix, count);
    await child.printed(`added ${prefix}`);
  };
  const arrived = async (prefix: string, count: number): Promise<void> => {
    const expected = expectedOf(host, prefix, count);
    const found = (): object => Object.fromEntries(Object.keys(expected).map((id) => [id, arrivals.of(id)]));
    await waitFor(() => Object.entries(expected).every(([id, kinds]) => arrivals.of(id).length >= kinds.length), {
      timeout: 60_000,
    }).catch(() => undefined);
    expect(found()).toEqual(expected);
  };
  const endsWith = async (stdout: string, stderr: RegExp): Promise<void> => {
    child.kill('SIGTERM');
    expect(await child.ended()).toEqual({ code: CODE, signal: null });
    expect(child.stdout()).toBe(stdout);
    expect(child.stderr()).toMatch(stderr);
  };

  test('that cannot be made: events are kept in memory', async () => {
    const file = join(root, 'file');
    writeFileSync(file, '');
    await start('nowhere', join(file, 'home'));
    await work('a', 20);
    await arrived('a', 20);
    await endsWith('ready\nadded a\n', /^z4j: warn: \S*file\S* cannot be used \(.*events are kept in memory.*\n$/);
  });

  test.runIf(mayMount)('that is read-only: events are kept in memory', async () => {
    mount('size=1m,ro');
    await start('readonly', join(mountPoint, 'home'));
    await work('a', 20);
    await arrived('a', 20);
    await endsWith('ready\nadded a\n', /^z4j: warn: .*read-only.*events are kept in memory.*\n$/);
  });

  test('that is removed while its agent runs: everything arrives', async () => {
    const home = join(root, 'home');
    await start('removed', home);
    await work('a', 20);
    await network.trouble({ stall: 'up' });
    const working = work('b', 100);
    await brain.until(() => arrivals.of('removed:a-0').length > 0, 30_000);
    rmSync(home, { recursive: true, force: true });
    await working;
    await work('c', 20);
    await network.trouble();
    await arrived('a', 20);
    await arrived('b', 100);
    await arrived('c', 20);
    await endsWith('ready\nadded a\nadded b\nadded c\n', /^(z4j: warn: .*\n)?$/);
    expect(existsSync(home)).toBe(true);
  });

  test.runIf(mayMount)('on a full disk: what does not fit is kept in memory', async () => {
    mount('size=1m');
    await start('full', join(mountPoint, 'home'));
    await work('a', 20);
    await network.trouble({ stall: 'up' });
    await work('b', 1000);
    await waitFor(() => child.stderr().includes('\n'), { timeout: 30_000 });
    await network.trouble();
    await arrived('a', 20);
    await arrived('b', 1000);
    await endsWith('ready\nadded a\nadded b\n', /^z4j: warn: .*ENOSPC.*\n$/);
  });
});

test('8 processes and 4 threads share a home: no slot is shared, no event is sent by two', async () => {
  const home = join(root, 'home');
  const ids = Array.from({ length: 8 }, (_, n) => `p${n}`);
  await Promise.all(ids.map((id, n) => run('share.mjs', [`${redis.port}`, id, n < 2 ? '2' : '0'], home)));
  const all = [...ids, 'p0-0', 'p0-1', 'p1-0', 'p1-1'];
  const tasks = all.flatMap((id) => Array.from({ length: 20 }, (_, n) => `share-${id}:n${n}`));
  await brain.until(() => tasks.every((task) => arrivals.of(task).length >= 4), 60_000).catch(() => undefined);
  const told = ['task.sent', 'task.received', 'task.started', 'task.succeeded'];
  expect(tasks.filter((task) => arrivals.of(task).join() !== told.join())).toEqual([]);
  const slots = brain.hellos.map(({ workerId }) => Number(/-(\d+)$/.exec(workerId ?? '')?.[1]));
  expect([...new Set(slots)].sort((a, b) => a - b)).toEqual(all.map((_, n) => n));
  expect(brain.connections).toBe(all.length);
  expect(brain.counts.rejected).toBe(0);
  const [agent = ''] = readdirSync(home);
  const folders = readdirSync(join(home, agent)).filter((name) => name.startsWith('slot-'));
  expect(folders).toHaveLength(all.length);
});
