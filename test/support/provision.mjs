// The first step of `npm test` and `npm run demo`: runs before anything is installed, so Node's own modules only.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const BRAIN = join(ROOT, '.cache/brain');
const BRAIN_PACKAGES = ['z4j==1.13.0', 'z4j[scheduler-grpc]', 'z4j-scheduler'];

const installers = { node, packages, redis, postgres, brain, targets, dist };
/** What `npm test` needs; it builds in a step of its own. */
const EVERYTHING = Object.keys(installers).filter((part) => part !== 'dist');

export async function provision(parts) {
  for (const part of parts) await installers[part]();
}

function node() {
  const { engines } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const fits = engines.node.split('||').some((range) => {
    const [, operator, from, minimum] = /(\^|>=)(\d+)\.(\d+)/.exec(range) ?? [];
    return (operator === '>=' && major > Number(from)) || (major === Number(from) && minor >= Number(minimum));
  });
  if (!fits) throw new Error(`Node ${process.versions.node} is not supported: install one of ${engines.node}`);
}

function packages() {
  if (sameAsLocked()) return;
  say('installing the packages of package-lock.json (npm ci)');
  const script = process.env.npm_execpath;
  const [command, first] = script?.endsWith('.js') ? [process.execPath, [script]] : ['npm', []];
  run(command, [...first, 'ci', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: ROOT });
}

/** Compares what npm says it installed with what the lock file asks for. */
function sameAsLocked() {
  const read = (path) => JSON.parse(readFileSync(join(ROOT, path), 'utf8')).packages;
  try {
    const wanted = read('package-lock.json');
    const installed = read('node_modules/.package-lock.json');
    return Object.entries(wanted).every(
      ([path, entry]) =>
        path === '' || (installed[path] === undefined ? entry.optional : installed[path].version === entry.version),
    );
  } catch {
    return false;
  }
}

function redis() {
  if (onPath('redis-server')) return;
  apt(['redis-server'], 'redis-server', () => onPath('redis-server'));
}

function postgres() {
  if (postgresBin()) return;
  apt(['postgresql'], 'PostgreSQL (the programs initdb and postgres)', postgresBin);
}

export function postgresBin() {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  const folders = [...versions.map((version) => join(debian, version, 'bin')), ...path()];
  return folders.find((folder) => existsSync(join(folder, 'initdb')) && existsSync(join(folder, 'postgres')));
}

export function brainProgram() {
  const program = join(BRAIN, 'bin/z4j');
  return existsSync(join(BRAIN, 'complete')) && existsSync(program) ? program : undefined;
}

function brain() {
  const wanted = BRAIN_PACKAGES.join(' ');
  const stamp = join(BRAIN, 'complete');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  const python = ['python3', 'python3.13', 'python3.12', 'python3.11'].find(
    (name) => spawnSync(name, ['-c', 'import sys; sys.exit(sys.version_info < (3, 11))']).status === 0,
  );
  if (!python) {
    say('skipped: no python3 (3.11 or newer), so nothing is tested against a live brain');
    return;
  }
  say('installing a z4j brain into .cache/brain (about a minute)');
  rmSync(BRAIN, { recursive: true, force: true });
  mkdirSync(dirname(BRAIN), { recursive: true });
  if (spawnSync(python, ['-m', 'venv', BRAIN]).status !== 0) {
    rmSync(BRAIN, { recursive: true, force: true });
    apt(['python3-venv'], 'python3-venv', () => spawnSync(python, ['-m', 'venv', BRAIN]).status === 0);
  }
  run(join(BRAIN, 'bin/pip'), ['install', '--quiet', '--disable-pip-version-check', ...BRAIN_PACKAGES]);
  writeFileSync(stamp, wanted);
}

async function targets() {
  const { installTarget, targets: table } = await import('./targets.mjs');
  const { FIXTURES } = await import('../loading/fixtures.mjs');
  for (const [name, dependencies] of Object.entries(table)) await installTarget(name, dependencies);
  for (const [name, dependencies] of Object.entries(FIXTURES)) await installTarget(`loading-${name}`, dependencies);
}

/** Builds when a source is newer than what was built last. */
function dist() {
  const newest = (folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .reduce((latest, entry) => Math.max(latest, statSync(join(entry.parentPath, entry.name)).mtimeMs), 0);
  if (existsSync(join(ROOT, 'dist')) && newest('dist') >= Math.max(newest('src'), newest('instrumentations'))) return;
  say('building');
  run(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', join(ROOT, 'tsconfig.build.json')]);
}

function apt(names, what, there) {
  const remedy = `${what} is missing: install it with your system's package manager (Debian: apt-get install ${names.join(' ')}) and try again`;
  if (process.getuid?.() !== 0 || !onPath('apt-get')) throw new Error(remedy);
  say(`installing ${names.join(' ')} with apt-get`);
  // The run level keeps Debian's scripts from starting the service.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  try {
    run('apt-get', ['update', '-qq'], { env });
    run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...names], { env });
  } catch (cause) {
    throw new Error(remedy, { cause });
  }
  if (!there()) throw new Error(remedy);
}

function path() {
  return (process.env.PATH ?? '').split(delimiter).filter(Boolean);
}

function onPath(program) {
  return path().some((folder) => existsSync(join(folder, program)));
}

function run(command, args, options = {}) {
  execFileSync(command, args, { stdio: ['ignore', 2, 2], ...options });
}

function say(text) {
  process.stderr.write(`provision: ${text}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const parts = process.argv.slice(2);
  try {
    await provision(parts.length === 0 ? EVERYTHING : ['node', ...parts]);
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
}
