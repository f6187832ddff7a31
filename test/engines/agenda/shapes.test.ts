import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { FLAVOURS, type Flavour, type Host, place, runHost, type Seen, type Servers, startServers } from './hosts.js';

vi.setConfig({ testTimeout: 180_000 });

let servers: Servers;
beforeAll(async () => {
  servers = await startServers();
});
afterAll(() => servers[Symbol.asyncDispose]());

const named = (name: string): Flavour => FLAVOURS.find((flavour) => flavour.name === name) as Flavour;

const BODY = `
  const agenda = await ready(make());
  define(agenda, 'mail', async () => {});
  define(agenda, 'tick', async () => {});
  await agenda.start();
  await agenda.now('mail', { n: 1 });
  await agenda.every('1 hour', 'tick', {}, { skipImmediate: true });
  await ended('mail');
  await rows('agenda', 'all');
  await agenda.stop();`;

async function run(flavour: Flavour, more: Partial<Host>): Promise<Seen> {
  return runHost({ flavour, place: place(servers, flavour), body: BODY, ...more });
}

function expectAll(seen: Seen, [name, version]: readonly [string, string]): void {
  const reports = seen.values.flatMap(({ report }) => (report === undefined ? [] : [report as { outcome: string }]));
  expect(reports, seen.stdout).toContainEqual(expect.objectContaining({ package: name, version, outcome: 'patched' }));
  expect(reports.filter(({ outcome }) => outcome === 'failed')).toEqual([]);
  expect(seen.tasks('mail').map((kinds) => kinds.filter((kind) => kind !== 'sent'))).toEqual([
    ['received', 'started', 'succeeded'],
  ]);
  expect(seen.of('task.sent', 'mail')).toHaveLength(1);
  expect(seen.rows('all').map((row) => row.name)).toEqual(['tick']);
}

describe.concurrent('what @hokify/agenda is imported by', () => {
  const HOKIFY = ['@hokify/agenda', '6.3.0'] as const;

  it.each([
    ['import { Agenda }', true, "import { Agenda } from '@hokify/agenda';"],
    ['import default', true, "import all from '@hokify/agenda'; const { Agenda } = all;"],
    ['import * as', true, "import * as all from '@hokify/agenda'; const { Agenda } = all;"],
    ['import()', true, "const { Agenda } = await import('@hokify/agenda');"],
    ['require', false, "const { Agenda } = require('@hokify/agenda');"],
    ['require of the file', false, "const { Agenda } = require('@hokify/agenda/dist/index.js');"],
    [
      'createRequire',
      true,
      "import { createRequire } from 'node:module'; const { Agenda } = createRequire(import.meta.url)('@hokify/agenda');",
    ],
  ])('%s', async (_, esm, load) => {
    expectAll(await run(named('@hokify/agenda 6.3.0'), { esm, load }), HOKIFY);
  });
});

describe.concurrent('bundles with the plug-in', () => {
  it.each([
    ['agenda 4.4.0', 'cjs', 'agenda', '4.4.0'],
    ['agenda 5.0.0', 'cjs', 'agenda', '5.0.0'],
    ['@hokify/agenda 6.3.0', 'cjs', '@hokify/agenda', '6.3.0'],
    ['@hokify/agenda 6.3.0', 'esm', '@hokify/agenda', '6.3.0'],
    ['agenda 6.2.6 on Redis', 'esm', 'agenda', '6.2.6'],
    ['agenda 6.2.6 on Redis', 'cjs', 'agenda', '6.2.6'],
    ['agenda 6.2.6 on PostgreSQL', 'esm', 'agenda', '6.2.6'],
  ] as const)('%s as %s', async (flavour, bundle, name, version) => {
    expectAll(await run(named(flavour), { bundle }), [name, version]);
  });
});
