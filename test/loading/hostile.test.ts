import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stubBrain } from '../../src/testing/index.js';
import { installSelf, node, type Output, run, stage, told } from './run.mjs';

const [major = 0] = process.versions.node.split('.').map(Number);
const REGISTER = ['--import', '@z4j/bare/register'];
/** Enough to be wanted; nothing becomes live in most of these programs, so nothing is connected. */
const TOKEN = {
  Z4J_TOKEN: 'x',
  Z4J_BRAIN_URL: 'http://127.0.0.1:9',
  Z4J_HMAC_SECRET: Buffer.alloc(32).toString('base64url'),
};

let folder: string;
let count = 0;

beforeAll(async () => {
  folder = await stage('main');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Host {
  readonly source: string;
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly extension?: 'cjs' | 'mjs';
}

async function host({ source, flags = REGISTER, env = TOKEN, extension = 'cjs' }: Host): Promise<Output> {
  const program = join(folder, `host-${count++}.${extension}`);
  await writeFile(program, source);
  return run(process.execPath, [...flags, program], { cwd: folder, env: { Z4J_HOME: join(folder, 'home'), ...env } });
}

/** The same program without us must end the same way and say the same. */
async function unharmed(options: Host): Promise<Output> {
  const [with_, without] = await Promise.all([host(options), host({ ...options, flags: [], env: {} })]);
  expect({ code: with_.code, stdout: with_.stdout }).toEqual({ code: without.code, stdout: without.stdout });
  return with_;
}

const lines = ({ stderr }: Output): string[] => stderr.split('\n').filter((line) => line !== '');

/** A library by the name of a target that is something else. */
async function impostor(name: string, version: string, source: string): Promise<string> {
  const place = join(folder, `impostor-${count++}`);
  const home = join(place, 'node_modules', name);
  await mkdir(home, { recursive: true });
  await writeFile(join(home, 'package.json'), JSON.stringify({ name, version, main: 'index.js' }));
  await writeFile(join(home, 'index.js'), source);
  return `require(${JSON.stringify(home)})`;
}

describe('libraries that are not what we know', () => {
  test('a patch that throws: one line, the host goes on', async () => {
    const library = await impostor(
      'bullmq',
      '5.81.5',
      "module.exports = new Proxy({}, { get() { throw new Error('trap'); } });",
    );
    const output = await unharmed({ source: `${library};${library}; console.log('fine');` });
    expect(lines(output)).toEqual([expect.stringMatching(/bullmq 5\.81\.5 is not observed: its patch failed: trap/)]);
  });

  test.each(['bullmq', 'agenda', 'node-cron'])('%s of a future version: one line, untouched', async (name) => {
    const library = await impostor(name, '99.0.0', 'exports.schedule = exports.Worker = class Worker { run() {} };');
    const output = await unharmed({
      source: `const { Worker } = ${library}; console.log(Object.keys(Worker), String(Worker));`,
    });
    expect(lines(output)).toEqual([expect.stringContaining(`${name} 99.0.0 is not observed: unsupported version`)]);
  });

  test.each([
    ['bullmq', '6.99.0'],
    ['agenda', '6.99.0'],
    ['node-cron', '4.99.0'],
  ])('%s without the shape we know: one line', async (name, version) => {
    const library = await impostor(name, version, 'exports.Worker = class {}; exports.schedule = 1;');
    const output = await unharmed({ source: `${library}; console.log('fine');` });
    expect(lines(output)).toEqual([
      expect.stringContaining(`${name} ${version} is not observed: shape not recognised`),
    ]);
  });

  test('frozen exports and frozen prototypes', async () => {
    const library = await impostor(
      'node-cron',
      '4.6.0',
      'exports.schedule = (a) => a; exports.createTask = (a) => a; Object.freeze(exports);',
    );
    const output = await unharmed({ source: `console.log(${library}.schedule(7));` });
    expect(lines(output).length).toBeLessThanOrEqual(1);
  });

  test('a package.json that is broken', async () => {
    const library = await impostor('bullmq', '5.81.5', "console.log('loaded');");
    const home = JSON.parse(library.slice('require('.length, -1)) as string;
    await writeFile(join(home, 'package.json'), '{');
    const output = await host({ source: `require(${JSON.stringify(join(home, 'index.js'))});` });
    const without = await host({ source: `require(${JSON.stringify(join(home, 'index.js'))});`, flags: [], env: {} });
    expect(output.code).toBe(without.code);
  });

  test('modules taken out of require.cache and loaded again', async () => {
    const output = await unharmed({
      source: `
        const first = require('bullmq').Worker;
        for (const key of Object.keys(require.cache)) delete require.cache[key];
        console.log(first === require('bullmq').Worker, first.prototype.run.length);`,
    });
    expect(lines(output)).toEqual([]);
  });
});

test('somebody replaces the compiler and calls nobody: found late', async () => {
  const output = await unharmed({
    source: `
      const Module = require('node:module');
      const { wrap } = Module;
      const { readFileSync } = require('node:fs');
      const { runInThisContext } = require('node:vm');
      const { dirname } = require('node:path');
      Module.prototype._compile = function (content, filename) {
        const local = (id) => this.require(id);
        const run = runInThisContext(wrap(content), { filename });
        return run.call(this.exports, this.exports, local, this, filename, dirname(filename));
      };
      const { Worker } = require('bullmq');
      const isPatched = () => globalThis[Symbol.for('z4j.bare')]?.targets.some(({ outcome }) => outcome === 'patched');
      const look = () => (process.env.Z4J_TOKEN && !isPatched() ? setTimeout(look, 10) : console.log(Worker.name));
      look();`,
  });
  expect(lines(output)).toEqual([]);
});

describe('ways to start', () => {
  test('--require is refused before anything runs', async () => {
    const output = await host({ source: "console.log('ran');", flags: ['--require', '@z4j/bare/register'] });
    expect(output).toMatchObject({ code: 1, stdout: '' });
    expect(output.stderr).toContain('ERR_PACKAGE_PATH_NOT_EXPORTED');
  });

  test.each([
    ['the flag twice', () => [...REGISTER, ...REGISTER]],
    [
      'two installed copies',
      async () => [...REGISTER, '--import', join(await installSelf(join(folder, 'second')), 'register.mjs')],
    ],
  ])('%s: one set of events', { timeout: 120_000 }, async (_name, flags) => {
    await using brain = await stubBrain();
    const output = await host({
      source: `
        const task = require('node-cron').createTask('0 0 1 1 *', () => 42, { name: 'yearly' });
        task.execute().then(() => task.destroy());`,
      flags: await flags(),
      env: brain.env,
    });
    expect(output).toMatchObject({ code: 0, stdout: '', stderr: '' });
    expect(brain.events.filter(({ eventType }) => eventType === 'task_succeeded')).toHaveLength(1);
    expect(brain.hellos).toHaveLength(1);
  });

  test('NODE_OPTIONS', async () => {
    const output = await host({
      source: "require('bullmq'); console.log(globalThis[Symbol.for('z4j.bare')].targets[0].outcome);",
      flags: [],
      env: { ...TOKEN, NODE_OPTIONS: '--import @z4j/bare/register' },
    });
    expect(output).toMatchObject({ code: 0, stdout: 'patched\n', stderr: '' });
  });

  test('the permission model', async () => {
    const flag = major === 20 ? '--experimental-permission' : '--permission';
    const output = await host({
      source: "require('bullmq'); console.log(globalThis[Symbol.for('z4j.bare')].targets[0].outcome);",
      flags: ['--no-warnings', flag, '--allow-fs-read=*', ...REGISTER],
    });
    expect(output).toMatchObject({ code: 0, stdout: 'patched\n' });
    expect(lines(output).length).toBeLessThanOrEqual(1);
  });

  test('a Node that is told not to require ES modules', async () => {
    const output = await host({
      source: "console.log('fine');",
      flags: ['--no-experimental-require-module', ...REGISTER],
    });
    expect(output).toMatchObject({ code: 0, stdout: 'fine\n' });
    expect(output.stderr).toContain('z4j: nothing is observed');
  });

  test('another runtime is named', async () => {
    const output = await host({
      source: "console.log('fine');",
      flags: ['--import', 'data:text/javascript,globalThis.Deno={}', ...REGISTER],
    });
    expect(output).toMatchObject({ code: 0, stdout: 'fine\n' });
    expect(output.stderr).toContain('@z4j/bare needs Node.js, this is Deno');
  });

  test('a start-up snapshot is built as without us', async () => {
    const output = await unharmed({
      source: "console.log('fine');",
      flags: [...REGISTER, '--snapshot-blob', join(folder, 'snapshot.blob'), '--build-snapshot'],
    });
    expect(output).toMatchObject({ code: 0, stdout: 'fine\n', stderr: '' });
  });

  test('a single executable application that asks for us is told why not', { timeout: 120_000 }, async () => {
    const main = join(folder, 'single.cjs');
    const config = join(folder, 'single.json');
    const single = join(folder, 'single');
    const register = join(folder, 'node_modules/@z4j/bare/register.mjs');
    await writeFile(
      main,
      `require('node:module').createRequire(${JSON.stringify(main)})(${JSON.stringify(register)}); console.log('fine');`,
    );
    await writeFile(config, JSON.stringify({ main, output: single, disableExperimentalSEAWarning: true }));
    expect(await run(await node('26'), ['--build-sea', config], { cwd: folder })).toMatchObject({ code: 0 });
    const output = await run(single, [], { cwd: folder, env: TOKEN });
    expect(output).toMatchObject({ code: 0, stdout: 'fine\n' });
    expect(output.stderr).toContain('@z4j/bare needs Node.js, this is a single executable application');
  });

  test('Z4J_DISABLED and a missing token: nothing is loaded', async () => {
    const source =
      "require('bullmq'); console.log(Object.getOwnPropertySymbols(globalThis).filter((s) => String(s).includes('z4j')).length);";
    for (const env of [{}, { Z4J_TOKEN: '' }, { ...TOKEN, Z4J_DISABLED: 'true' }])
      expect(await host({ source, env })).toMatchObject({ code: 0, stdout: '0\n', stderr: '' });
  });

  test('a disabled instrumentation patches nothing', async () => {
    const output = await host({
      source: `
        const { Worker } = require('bullmq');
        const { outcome } = globalThis[Symbol.for('z4j.bare')].targets[0];
        console.log(outcome, Object.getOwnPropertySymbols(Worker).length);`,
      env: { ...TOKEN, Z4J_DISABLED_INSTRUMENTATIONS: 'bullmq, celery' },
    });
    expect(output).toMatchObject({ code: 0, stdout: 'disabled 0\n' });
    expect(lines(output)).toEqual([
      expect.stringContaining('unknown `celery` ignored; known are bullmq, agenda, node-cron'),
    ]);
  });

  test('the environment that PM2 completes late is read at the first target', async () => {
    const output = await host({
      source: `
        const before = globalThis[Symbol.for('z4j.bare')].targets.length;
        Object.assign(process.env, JSON.parse(process.env.pm2_env));
        require('bullmq');
        console.log(before, globalThis[Symbol.for('z4j.bare')].targets[0].outcome);`,
      env: { pm2_env: JSON.stringify(TOKEN) },
    });
    expect(output).toMatchObject({ code: 0, stdout: '0 patched\n', stderr: '' });
  });
});

describe('without a token', () => {
  // A preload that does nothing makes Node take the same way to the program as `--import` of ours.
  const empty = ['--import', 'nothing/register'];
  beforeAll(async () => {
    const home = join(folder, 'node_modules/nothing');
    await mkdir(home);
    const exports = { './register': { import: './register.mjs' } };
    await writeFile(join(home, 'package.json'), JSON.stringify({ type: 'module', exports }));
    await writeFile(join(home, 'register.mjs'), 'process.env.X;');
  });
  const census = `
    process.on('exit', (code) => console.log(JSON.stringify({
      code,
      modules: process.moduleLoadList.length,
      files: Object.keys(require.cache).length,
      handles: process.getActiveResourcesInfo().sort(),
      listeners: process.eventNames().map((name) => [String(name), process.listenerCount(name)]),
      globals: Reflect.ownKeys(globalThis).length,
    })));`;

  test.each([
    ['CJS', 'cjs', `${census} require('bullmq'); require('node-cron');`],
    [
      'ESM',
      'mjs',
      `import { createRequire } from 'node:module'; import 'bullmq'; import 'agenda'; import 'node-cron';
       const require = createRequire(import.meta.url); ${census}`,
    ],
    ['an exit code', 'cjs', `${census} process.exitCode = 7;`],
    ['an error', 'cjs', `${census} throw new Error('mine');`],
  ] as const)('everything is as with an empty preload: %s', async (_name, extension, source) => {
    const [ours, bare] = await Promise.all([
      host({ source, extension, env: {} }),
      host({ source, extension, env: {}, flags: empty }),
    ]);
    const at = (text: string): string => text.replaceAll(/host-\d+/g, 'host');
    expect({ ...ours, stderr: at(ours.stderr) }).toEqual({ ...bare, stderr: at(bare.stderr) });
    expect(told(`census ${ours.stdout.trim().split('\n').at(-1)}`, 'census')).toBeTypeOf('object');
  });
});
