import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stubBrain } from '../../src/testing/index.js';
import { installTarget } from '../support/targets.mjs';
import { FIXTURES, MAIN } from './fixtures.mjs';
import { type Output, run, told } from './run.mjs';

const MINUTE = 60_000;
const ROOT = fileURLToPath(new URL('../../', import.meta.url));

let managers: string;
let folder: string;
let registry: string;

beforeAll(async () => {
  managers = await installTarget('loading-managers', FIXTURES.managers ?? {});
  // Outside of this repository, whose own packages would be found.
  folder = await mkdtemp(join(tmpdir(), 'z4j-managers-'));
  const packed = await run('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], { cwd: ROOT });
  expect(packed.code).toBe(0);
  await cp(join(folder, packed.stdout.trim().split('\n').at(-1) ?? ''), join(folder, 'z4j-bare.tgz'));
  registry = (await run('npm', ['config', 'get', 'registry'], { cwd: ROOT })).stdout.trim();
}, 3 * MINUTE);
afterAll(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));

/** How this machine reaches the registry. */
const NETWORK = Object.entries(process.env).filter(([key]) => /^(?:https?|no)_proxy$|_CA_CERTS$|^SSL_CERT/i.test(key));

/** What each is called by, how it installs, and how it starts Node. */
const each = [
  ['pnpm', 'pnpm/bin/pnpm.cjs', ['install', '--ignore-scripts', '--no-frozen-lockfile'], ['exec', 'node']],
  ['yarn 1', 'yarn/bin/yarn.js', ['install', '--ignore-scripts', '--non-interactive'], ['--silent', 'node']],
  ['yarn with Plug’n’Play', '@yarnpkg/cli-dist/bin/yarn.js', ['install', '--no-immutable'], ['node']],
] as const;

test.each(each)('%s', { timeout: 5 * MINUTE }, async (name, script, install, start) => {
  const home = join(folder, name.replaceAll(/\W+/g, '-'));
  await mkdir(home);
  const dependencies = { ...MAIN, '@opentelemetry/api': '^1.9.0', '@z4j/bare': 'file:../z4j-bare.tgz' };
  await writeFile(join(home, 'package.json'), JSON.stringify({ name: 'host', private: true, dependencies }));
  for (const part of ['programs', 'preload'])
    await cp(fileURLToPath(new URL(`fixtures/${part}`, import.meta.url)), home, { recursive: true });
  const env = {
    ...(Object.fromEntries(NETWORK) as Record<string, string>),
    npm_config_registry: registry,
    YARN_NPM_REGISTRY_SERVER: registry,
    YARN_UNSAFE_HTTP_WHITELIST: '*',
    YARN_NODE_LINKER: 'pnp',
    YARN_ENABLE_SCRIPTS: 'false',
    YARN_ENABLE_TELEMETRY: 'false',
    YARN_ENABLE_GLOBAL_CACHE: 'false',
    YARN_CACHE_FOLDER: join(home, 'cache'),
    XDG_DATA_HOME: join(home, 'data'),
    XDG_CACHE_HOME: join(home, 'data'),
  };
  const manager = (args: readonly string[], more: Readonly<Record<string, string>> = {}): Promise<Output> =>
    run(process.execPath, [join(managers, 'node_modules', script), ...args], {
      cwd: home,
      env: { ...env, ...more },
      limit: 4 * MINUTE,
    });
  const installed = await manager(install);
  expect(installed.code, installed.stdout + installed.stderr).toBe(0);

  for (const program of ['esm.mjs', 'plain.cjs']) {
    await using brain = await stubBrain();
    const preloads = ['--no-deprecation', '--import', '@z4j/bare/register', '--import', './report.mjs'];
    const output = await manager([...start, ...preloads, program], {
      ...brain.env,
      Z4J_HOME: join(home, `z4j-${program}`),
    });
    expect(output).toMatchObject({ code: 0, stderr: '' });
    const targets = told(output.stdout, 'targets') as { package: string; outcome: string }[];
    expect(targets.map((one) => `${one.package} ${one.outcome}`).sort()).toEqual([
      ...(program === 'esm.mjs' ? ['agenda patched'] : []),
      'bullmq patched',
      'node-cron patched',
    ]);
    expect(brain.events.filter(({ eventType }) => eventType === 'task_succeeded')).toHaveLength(1);
  }
});
