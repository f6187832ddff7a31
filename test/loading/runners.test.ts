import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build, type Format } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z4jBare } from '../../src/esbuild.js';
import { stubBrain } from '../../src/testing/index.js';
import { runChild } from '../support/child.js';
import { startRedis } from '../support/redis.js';
import { run, stage, told } from './run.mjs';

const MINUTE = 60_000;
const TOKEN = { Z4J_TOKEN: 'x', Z4J_LOG_LEVEL: 'silent' };

describe('bundles', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await stage('main');
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  async function bundle(program: string, format: Format, withPlugin: boolean): Promise<string> {
    // Away from node_modules: whatever a bundle loads by itself would be seen by the loader.
    const outfile = join(folder, `bundle-${format}-${withPlugin}`, format === 'esm' ? 'app.mjs' : 'app.cjs');
    await build({
      entryPoints: [join(folder, program)],
      bundle: true,
      platform: 'node',
      format,
      outfile,
      logLevel: 'silent',
      ...(format === 'cjs' && {
        // Agenda and node-cron ask where they are.
        define: { 'import.meta.url': 'here' },
        banner: { js: "const here = require('node:url').pathToFileURL(__filename).href;" },
      }),
      ...(format === 'esm' && {
        banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
      }),
      plugins: withPlugin ? [z4jBare()] : [],
    });
    return outfile;
  }

  const bundled = `
    import { Agenda } from 'agenda';
    import { Job, Queue, Worker } from 'bullmq';
    import { createTask } from 'node-cron';
    const task = createTask('0 0 1 1 *', () => 42, { name: 'yearly' });
    task.execute().then(async (result) => {
      await task.destroy();
      console.log('done ' + JSON.stringify({ result, names: [Agenda, Job, Queue, Worker].map((one) => typeof one) }));
    });`;

  test.each([
    ['esm', true],
    ['cjs', true],
    ['esm', false],
  ] as const)('%s, with the plugin: %s', { timeout: 2 * MINUTE }, async (format, withPlugin) => {
    await writeFile(join(folder, 'bundled.mjs'), bundled);
    const app = await bundle('bundled.mjs', format, withPlugin);
    await using brain = await stubBrain();
    const report = join(folder, 'report.mjs');
    const output = await run(process.execPath, ['--import', '@z4j/bare/register', '--import', report, app], {
      cwd: folder,
      env: { ...brain.env, Z4J_HOME: join(folder, 'home') },
    });
    expect(output).toMatchObject({ code: 0, stderr: '' });
    expect(told(output.stdout, 'done')).toMatchObject({ result: 42 });
    const targets = told(output.stdout, 'targets') as { package: string; version: string; outcome: string }[];
    const expected = [
      ['agenda', '6.2.6', 'patched'],
      ['bullmq', '5.81.5', 'patched'],
      ['node-cron', '4.6.0', 'patched'],
    ];
    expect(targets.map((one) => [one.package, one.version, one.outcome]).sort()).toEqual(withPlugin ? expected : []);
    const succeeded = brain.events.filter(({ eventType }) => eventType === 'task_succeeded');
    expect(succeeded).toHaveLength(withPlugin ? 1 : 0);
  });
});

test('a NestJS application with @nestjs/bullmq', { timeout: 4 * MINUTE }, async () => {
  const folder = await stage('nest');
  const redis = await startRedis();
  try {
    await using brain = await stubBrain();
    await using child = await runChild({
      target: folder,
      program: {
        name: 'nest.mjs',
        source: `
          import 'reflect-metadata';
          import { BullModule, getQueueToken, Processor, WorkerHost } from '@nestjs/bullmq';
          import { Module } from '@nestjs/common';
          import { NestFactory } from '@nestjs/core';
          class Mail extends WorkerHost {
            async process(job) {
              return job.data.n * 2;
            }
          }
          Processor('mail')(Mail);
          class App {}
          const connection = { host: '127.0.0.1', port: ${redis.port} };
          const imports = [BullModule.forRoot({ connection }), BullModule.registerQueue({ name: 'mail' })];
          Module({ imports, providers: [Mail] })(App);
          const app = await NestFactory.createApplicationContext(App, { logger: false });
          await app.get(getQueueToken('mail')).add('double', { n: 21 });`,
      },
      env: brain.env,
    });
    const ended = await brain.waitFor({ eventType: 'task_succeeded' }, MINUTE);
    expect(ended.data).toMatchObject({ task_name: 'double', result: 42 });
    expect(child.stderr()).toBe('');
  } finally {
    await redis.stop();
    await rm(folder, { recursive: true, force: true });
  }
});

describe('vitest', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await stage('runners');
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test.each(['forks', 'threads'])('pool %s with execArgv', { timeout: 3 * MINUTE }, async (pool) => {
    const home = join(folder, pool);
    await mkdir(home);
    await writeFile(
      join(home, 'vitest.config.mjs'),
      `export default { test: { pool: '${pool}', execArgv: ['--import', '@z4j/bare/register'], include: ['*.spec.mjs'] } };`,
    );
    await writeFile(
      join(home, 'app.spec.mjs'),
      `import { Agenda } from 'agenda';
      import { Worker } from 'bullmq';
      import { createTask } from 'node-cron';
      import { expect, test } from 'vitest';
      test('targets', () => {
        const { targets } = globalThis[Symbol.for('z4j.bare')];
        expect([Agenda, Worker, createTask].map((one) => typeof one)).toEqual(['function', 'function', 'function']);
        expect(targets.map((one) => one.package + ' ' + one.outcome).sort())
          .toEqual(['agenda patched', 'bullmq patched', 'node-cron patched']);
      });`,
    );
    const cli = join(folder, '../node_modules/vitest/vitest.mjs');
    const output = await run(process.execPath, [cli, 'run', '--root', home], { cwd: home, env: TOKEN });
    expect(output.stdout + output.stderr).toContain('1 passed');
    expect(output.code).toBe(0);
  });
});

test('jest: only what is handed over is observed', { timeout: 3 * MINUTE }, async () => {
  const folder = await stage('runners');
  try {
    await writeFile(join(folder, 'jest.config.mjs'), `export default { testMatch: ['**/*.spec.mjs'], transform: {} };`);
    await writeFile(
      join(folder, 'app.spec.mjs'),
      `import * as cron from 'node-cron';
      import * as bullmq from 'bullmq';
      import { hub, instrument } from '@z4j/bare';
      test('targets', () => {
        const before = hub.targets.length;
        const observed = [instrument(bullmq), instrument(cron.default)];
        expect({ before, observed }).toEqual({ before: 0, observed: [true, true] });
        expect(Symbol.for('z4j.bare.wrapped') in bullmq.Worker.prototype.run).toBe(true);
      });`,
    );
    const cli = join(folder, '../node_modules/jest/bin/jest.js');
    const flags = ['--no-warnings', '--experimental-vm-modules', '--import', '@z4j/bare/register'];
    const output = await run(process.execPath, [...flags, cli, '--rootDir', folder, '-i'], { cwd: folder, env: TOKEN });
    expect(output.stderr).toMatch(/Tests: +1 passed/);
    expect(output.code).toBe(0);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
