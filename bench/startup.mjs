/**
 * What `--import @z4j/bare/register` adds to the start of a process, in milliseconds: medians of interleaved
 * runs, and in brackets the difference of the fastest runs.
 *
 *     node bench/startup.mjs [--runs 15] [--node 20,22,24,26] [--neighbours] [--graph]
 *
 * `--neighbours` adds columns for OpenTelemetry, Sentry and Datadog, `--graph` an application of 500 ES modules.
 */
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { FIXTURES, MAIN, QUIET } from '../test/loading/fixtures.mjs';
import { node } from '../test/support/nodes.mjs';
import { installTarget } from '../test/support/targets.mjs';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '15' },
    node: { type: 'string', default: '20,22,24,26' },
    neighbours: { type: 'boolean', default: false },
    graph: { type: 'boolean', default: false },
  },
});

const register = new URL('../register.mjs', import.meta.url).href;
const token = { Z4J_TOKEN: 'x', Z4J_LOG_LEVEL: 'silent' };

const folder = await mkdtemp(join(tmpdir(), 'z4j-startup-'));
const empty = join(folder, 'empty.mjs');
await writeFile(empty, '');
const graph = join(folder, 'graph.mjs');
if (values.graph) {
  const names = Array.from({ length: 500 }, (_, index) => `m${index}.mjs`);
  for (const [index, name] of names.entries()) await writeFile(join(folder, name), `export const v = ${index};\n`);
  await writeFile(graph, names.map((name) => `import './${name}';`).join('\n'));
}
const main = await installTarget('loading-main', MAIN);
const targets = join(main, 'startup-targets.mjs');
await writeFile(targets, "import 'bullmq';\nimport 'agenda';\nimport 'node-cron';\n");

const columns = {
  bare: { app: empty },
  'no token': { app: empty, flags: ['--import', register] },
  'token, no target': { app: empty, flags: ['--import', register], env: token },
  'targets bare': { app: targets },
  'targets, token': { app: targets, flags: ['--import', register], env: token, base: 'targets bare' },
};
if (values.graph) {
  columns['500 modules bare'] = { app: graph };
  columns['500 modules, token'] = { app: graph, flags: ['--import', register], env: token, base: '500 modules bare' };
}
const NEIGHBOURS = {
  opentelemetry: ['--import', '@opentelemetry/auto-instrumentations-node/register'],
  sentry: ['--import', '@sentry/node/import'],
  datadog: ['--import', 'dd-trace/initialize.mjs'],
};
if (values.neighbours) {
  for (const [name, flags] of Object.entries(NEIGHBOURS))
    columns[name] = { app: empty, flags, env: QUIET, cwd: await installTarget(`loading-${name}`, FIXTURES[name]) };
}

/** @returns milliseconds from spawn to exit */
function once(binary, { app, flags = [], env = {}, cwd = folder }) {
  const { Z4J_TOKEN, NODE_OPTIONS, ...rest } = process.env;
  const begin = process.hrtime.bigint();
  const { status, stderr } = spawnSync(binary, ['--no-warnings', ...flags, app], { cwd, env: { ...rest, ...env } });
  const took = Number(process.hrtime.bigint() - begin) / 1e6;
  if (status !== 0) throw new Error(`${binary} ${flags.join(' ')} ${app}: exit ${status}\n${stderr}`);
  return took;
}

const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];
/** The least of all runs: what is left where other processes share the machine. */
const least = (list) => Math.min(...list);
const difference = (of, list, base) => `+${(of(list) - of(base)).toFixed(1)}`;

const table = {};
try {
  for (const version of values.node.split(',')) {
    const binary = await node(version);
    const times = Object.fromEntries(Object.keys(columns).map((name) => [name, []]));
    for (const column of Object.values(columns)) once(binary, column);
    for (let run = 0; run < Number(values.runs); run++) {
      for (const [name, column] of Object.entries(columns)) times[name].push(once(binary, column));
    }
    const row = {};
    for (const [name, { base = 'bare', flags }] of Object.entries(columns)) {
      const [list, bare] = [times[name], times[base]];
      row[name] = flags
        ? `${difference(median, list, bare)} (${difference(least, list, bare)})`
        : `${median(list).toFixed(1)} (${least(list).toFixed(1)})`;
    }
    table[spawnSync(binary, ['-v']).stdout.toString().trim()] = row;
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
console.table(table);
