import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { stubBrain } from '../../dist/src/testing/index.js';
import { node } from '../support/nodes.mjs';
import { installTarget } from '../support/targets.mjs';
import { FIXTURES, quietly } from './fixtures.mjs';
import { redis } from './redis.mjs';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const LIMIT = 120_000;

export { node };

/** Runs a program to its end; what is still running after the limit is killed. */
export async function run(binary, args, { cwd, env, limit = LIMIT }) {
  const { PATH, HOME, TMPDIR } = process.env;
  const child = spawn(binary, args, { cwd, env: { PATH, HOME, ...(TMPDIR && { TMPDIR }), ...env } });
  const output = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr']) {
    child[stream].setEncoding('utf8').on('data', (text) => {
      output[stream] += text;
    });
  }
  const timer = setTimeout(() => child.kill('SIGKILL'), limit);
  const [code, signal] = await new Promise((resolve, reject) => {
    child.on('close', (...end) => resolve(end)).on('error', reject);
  });
  clearTimeout(timer);
  return { code, signal, ...output };
}

/** The package as it is installed; its dependencies are found further up. */
export async function installSelf(folder) {
  const self = join(folder, 'node_modules/@z4j/bare');
  await mkdir(self, { recursive: true });
  for (const part of ['package.json', 'register.mjs', 'dist'])
    await cp(join(ROOT, part), join(self, part), { recursive: true });
  return self;
}

let snapshot;

/** One copy for all cells, so that a build meanwhile does not matter. */
async function self() {
  if (snapshot === undefined) {
    await mkdir(join(ROOT, '.cache'), { recursive: true });
    const folder = mkdtempSync(join(ROOT, `.cache/loading-${process.pid}-`));
    process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
    snapshot = installSelf(folder);
  }
  return snapshot;
}

/** A copy of programs and preloads inside a folder of libraries, so that they resolve there, with us installed. */
export async function stage(fixture) {
  const folder = await installTarget(`loading-${fixture}`, FIXTURES[fixture]);
  const copy = await mkdtemp(join(folder, 'cell-'));
  for (const part of ['programs', 'preload'])
    await cp(fileURLToPath(new URL(`fixtures/${part}`, import.meta.url)), copy, { recursive: true });
  await mkdir(join(copy, 'node_modules/@z4j'), { recursive: true });
  await symlink(await self(), join(copy, 'node_modules/@z4j/bare'), 'junction');
  return copy;
}

const flagsOf = (flags, folder, ours) => {
  const resolved = flags.flatMap((flag) => {
    if (flag === '<register>') return ours ? ['--import', '@z4j/bare/register'] : [];
    return flag.startsWith('./') ? pathToFileURL(join(folder, flag)).href : flag;
  });
  return ['--no-deprecation', ...resolved, '--import', pathToFileURL(join(folder, 'report.mjs')).href];
};

/** The object behind the last line that begins with `word`. */
export function told(stdout, word) {
  const line = stdout.split('\n').findLast((candidate) => candidate.startsWith(`${word} `));
  return line === undefined ? undefined : JSON.parse(line.slice(word.length + 1));
}

const baselines = new Map();

/** What a neighbour leaves of its own in a run without us. */
function baseline(binary, cell, folder) {
  const key = JSON.stringify([
    cell.node,
    cell.fixture,
    cell.flags.filter((flag) => flag !== '<register>'),
    cell.program,
    cell.env,
  ]);
  if (!baselines.has(key)) {
    const args = [...flagsOf(cell.flags, folder, false), join(folder, cell.program)];
    baselines.set(key, run(binary, args, { cwd: folder, env: { ...quietly(cell.fixture), ...cell.env } }));
  }
  return baselines.get(key);
}

const difference = (actual = {}, expected = {}) =>
  Object.keys({ ...expected, ...actual })
    .filter((key) => actual[key] !== expected[key])
    .map((key) => `${key}: ${expected[key]} → ${actual[key]}`);

/** Runs one cell; resolves with the reasons why it fails, none when it passes. */
export async function runCell(cell) {
  const binary = await node(cell.node);
  const folder = await stage(cell.fixture);
  const brain = await stubBrain();
  try {
    return await judge(cell, binary, folder, brain);
  } finally {
    await brain.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function judge(cell, binary, folder, brain) {
  const home = join(folder, 'home');
  const args = [...flagsOf(cell.flags, folder, true), join(folder, cell.program)];
  const env = {
    ...quietly(cell.fixture),
    ...brain.env,
    Z4J_HOME: home,
    ...(cell.job && { REDIS: await redis() }),
    ...cell.env,
  };
  const { code, signal, stdout, stderr } = await run(binary, args, { cwd: folder, env });

  const reasons = [];
  if (code !== 0) reasons.push(`exit ${code ?? signal}: ${stderr.trim().slice(-600)}`);
  if (/z4j/.test(stderr)) reasons.push(`said: ${stderr.split('\n').find((line) => line.includes('z4j'))}`);
  const done = told(stdout, 'done');
  if (done === undefined) reasons.push('no done line');
  for (const [name, holds] of Object.entries(done?.checks ?? {})) if (!holds) reasons.push(`check ${name}`);

  const targets = told(stdout, 'targets') ?? [];
  const found = [...new Set(targets.filter(({ outcome }) => outcome === 'patched').map((one) => one.package))].sort();
  if (found.join() !== cell.targets.join())
    reasons.push(`patched ${found.join() || 'nothing'}: ${JSON.stringify(targets)}`);

  const runs = cell.job ? 'bullmq' : 'node-cron';
  if (cell.targets.includes(runs)) {
    const kinds = brain.events.filter(({ engine }) => engine === runs).map(({ eventType }) => eventType);
    for (const kind of ['task_received', 'task_started', 'task_succeeded'])
      if (kinds.filter((one) => one === kind).length !== 1)
        reasons.push(`events at the brain: ${kinds.join(' ') || 'none'}`);
  }
  if (cell.neighbour) {
    const before = await baseline(binary, cell, folder);
    reasons.push(...difference(done?.marks, told(before.stdout, 'done')?.marks));
    const seen = (stream) => JSON.stringify(told(stream, 'neighbour'));
    if (seen(stdout) !== seen(before.stdout)) reasons.push(`neighbour saw ${seen(before.stdout)} → ${seen(stdout)}`);
  }
  return [...new Set(reasons)];
}
