import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const CACHE = fileURLToPath(new URL('../../.cache/targets/', import.meta.url));

const each = (library, versions, beside = {}) =>
  Object.fromEntries(versions.map((version) => [`${library}-${version}`, { [library]: version, ...beside }]));

export const targets = {
  ...each('bullmq', ['3.16.2', '4.18.3', '5.81.5']),
  // From 6 on the client of Redis is the application's own.
  ...each('bullmq', ['6.7.0'], { ioredis: '5' }),
  ...each('agenda', ['3.1.0', '4.4.0', '5.0.0']),
  // Each backend wants this very version.
  ...each('agenda', ['6.2.6'], {
    '@agendajs/mongo-backend': '4.0.3',
    '@agendajs/postgres-backend': '3.0.6',
    '@agendajs/redis-backend': '3.0.7',
  }),
  'hokify-6.3.0': { '@hokify/agenda': '6.3.0' },
  ...each('node-cron', ['2.0.3', '3.0.3', '4.0.0', '4.0.7', '4.2.1', '4.3.0', '4.4.1', '4.5.0', '4.6.0']),
};

export function target(name) {
  const dependencies = targets[name];
  if (!dependencies)
    throw new Error(`No fixture ${name}: test/support/targets.mjs has ${Object.keys(targets).join(', ')}`);
  return installTarget(name, dependencies);
}

export async function installTarget(name, dependencies) {
  const digest = createHash('sha256').update(JSON.stringify(dependencies)).digest('hex').slice(0, 8);
  const folder = join(CACHE, `${name}-${digest}`);
  if (existsSync(folder)) return folder;
  await mkdir(CACHE, { recursive: true });
  const attempt = await mkdtemp(join(CACHE, '.installing-'));
  try {
    await writeFile(join(attempt, 'package.json'), JSON.stringify({ private: true, dependencies }, null, 2));
    await npm(
      ['install', '--no-audit', '--no-fund', '--no-package-lock', '--ignore-scripts', '--loglevel=error'],
      attempt,
    );
    // Complete or not there at all: who loses the race uses the winner's.
    await rename(attempt, folder);
  } catch (error) {
    if (!existsSync(folder))
      throw new Error(`Cannot install ${name} ${JSON.stringify(dependencies)}`, { cause: error });
  } finally {
    await rm(attempt, { recursive: true, force: true });
  }
  return folder;
}

/** The npm that belongs to the running Node, wherever PATH points. */
function npm(args, cwd) {
  const beside = join(dirname(process.execPath), '../lib/node_modules/npm/bin/npm-cli.js');
  const script = process.env.npm_execpath ?? (existsSync(beside) ? beside : undefined);
  const [command, first] = script?.endsWith('.js') ? [process.execPath, [script]] : ['npm', []];
  const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => key !== 'NODE_OPTIONS'));
  return promisify(execFile)(command, [...first, ...args], { cwd, env, maxBuffer: 1 << 26 });
}
