import { FIXTURES } from './fixtures.mjs';

/** The release lines that are alive, and the versions between which the loader APIs changed. */
export const LINES = ['20', '22', '24', '26'];
export const VERSIONS = [
  ...['20', '20.19.0', '22', '22.12.0', '22.15.1', '22.22.2'],
  ...['24', '24.0.2', '24.11.0', '25.0.0', '26'],
];

const ALL = ['agenda', 'bullmq', 'node-cron'];
const OURS = '<register>';

/**
 * @typedef {object} Cell
 * @property {string} group
 * @property {string} name
 * @property {string} node version
 * @property {keyof FIXTURES} fixture folder of libraries
 * @property {readonly string[]} flags in order; `<register>` stands for `--import` of ours, `./` for the preloads
 * @property {string} program file of `fixtures/programs`
 * @property {readonly string[]} targets packages that must be patched, and no others
 * @property {Record<string, string>} [env]
 * @property {boolean} [job] runs a job of BullMQ, for which there is a Redis
 * @property {boolean} [neighbour] compare its marks with a run without us
 */

const shapes = [
  ['ESM', 'esm.mjs', ALL],
  ['CJS', 'cjs.cjs', ALL],
  ['ESM and CJS', 'both.mjs', ALL],
  ['ESM imports CJS', 'mixed.mjs', ['bullmq', 'node-cron']],
  ['deep require', 'deep.cjs', ['bullmq']],
  ['ours in the same graph', 'own.mjs', ['bullmq', 'node-cron']],
];

const otel = ['--import', '@opentelemetry/auto-instrumentations-node/register'];
const otelLoader = ['--experimental-loader', '@opentelemetry/instrumentation/hook.mjs'];
const iitm = ['--import', './iitm.mjs'];
const datadog = ['--import', 'dd-trace/initialize.mjs'];
const sentry = ['--import', '@sentry/node/import', '--import', './sentry.mjs'];
const plugins = ['--import', './plugins.mjs'];
const source = ['--import', './cjs-source.mjs'];

const neighbours = [
  ['OpenTelemetry with its loader, then ours', 'opentelemetry', [...otelLoader, ...otel, OURS]],
  ['OpenTelemetry loader, ours, OpenTelemetry', 'opentelemetry', [...otelLoader, OURS, ...otel]],
  ['OpenTelemetry without loader, then ours', 'opentelemetry', [...otel, OURS]],
  ['ours, then OpenTelemetry without loader', 'opentelemetry', [OURS, ...otel]],
  ['second import-in-the-middle, then ours', 'iitm', [...iitm, OURS]],
  ['ours, then second import-in-the-middle', 'iitm', [OURS, ...iitm]],
  ['synchronous import-in-the-middle, then ours', 'iitm', [...iitm, OURS], { CELL_IITM: 'sync' }],
  ['ours, then synchronous import-in-the-middle', 'iitm', [OURS, ...iitm], { CELL_IITM: 'sync' }],
  ['Datadog, then ours', 'datadog', [...datadog, OURS]],
  ['ours, then Datadog', 'datadog', [OURS, ...datadog]],
  ['Sentry, then ours', 'sentry', [...sentry, OURS]],
  ['ours, then Sentry', 'sentry', [OURS, ...sentry]],
  ['our OpenTelemetry plug-ins, then ours', 'main', [...plugins, OURS]],
  ['ours, then our OpenTelemetry plug-ins', 'main', [OURS, ...plugins]],
  ['loader that supplies CJS source, then ours', 'main', [...source, OURS]],
  ['ours, then loader that supplies CJS source', 'main', [OURS, ...source]],
];

/** A job that is really executed. */
const jobs = [
  ['ESM', 'main', [OURS], 'job.mjs'],
  ['CJS', 'main', [OURS], 'job.cjs'],
  ['OpenTelemetry with its loader, then ours, ESM', 'opentelemetry', [...otelLoader, ...otel, OURS], 'job.mjs'],
  ['ours, then OpenTelemetry without loader, CJS', 'opentelemetry', [OURS, ...otel], 'job.cjs'],
  ['ours, then Sentry, ESM', 'sentry', [OURS, ...sentry], 'job.mjs'],
  ['Datadog, then ours, CJS', 'datadog', [...datadog, OURS], 'job.cjs'],
  ['ours, then synchronous import-in-the-middle, ESM', 'iitm', [OURS, ...iitm], 'job.mjs', { CELL_IITM: 'sync' }],
];

const runners = [
  ['tsx, ESM', ['--import', 'tsx', OURS], 'types.mts', ALL],
  ['ours, then tsx, ESM', [OURS, '--import', 'tsx'], 'types.mts', ALL],
  ['ts-node ESM loader', ['--loader', 'ts-node/esm/transpile-only', OURS], 'types.mts', ALL],
];
const native = [
  ['native type stripping, ESM', [OURS], 'types.mts', ALL],
  ['native type stripping, CJS', [OURS], 'types.cts', ['bullmq', 'node-cron']],
];

const isLine = (version) => version !== '20';

/** @returns {Cell[]} */
export function cells() {
  return [
    ...shapes.flatMap(([name, program, targets]) =>
      VERSIONS.map((node) => ({ group: 'shapes', name, node, fixture: 'main', flags: [OURS], program, targets })),
    ),
    ...neighbours.flatMap(([name, fixture, flags, env]) =>
      LINES.filter((node) => env === undefined || isLine(node)).map((node) => ({
        group: 'neighbours',
        name,
        node,
        fixture,
        flags,
        program: 'esm.mjs',
        targets: ALL,
        neighbour: true,
        ...(env && { env }),
      })),
    ),
    ...neighbours
      .filter(([, , , env]) => env === undefined)
      .flatMap(([name, fixture, flags]) =>
        LINES.map((node) => ({
          group: 'neighbours',
          name: `${name}, CJS`,
          node,
          fixture,
          flags,
          program: 'plain.cjs',
          targets: ['bullmq', 'node-cron'],
          neighbour: true,
        })),
      ),
    ...jobs.flatMap(([name, fixture, flags, program, env]) =>
      LINES.filter((node) => env === undefined || isLine(node)).map((node) => ({
        group: 'a BullMQ job',
        name,
        node,
        fixture,
        flags,
        program,
        targets: ['bullmq'],
        job: true,
        ...(env && { env }),
      })),
    ),
    ...runners.flatMap(([name, flags, program, targets]) =>
      LINES.map((node) => ({ group: 'runners', name, node, fixture: 'runners', flags, program, targets })),
    ),
    ...native.flatMap(([name, flags, program, targets]) =>
      ['22', '24', '26'].map((node) => ({ group: 'runners', name, node, fixture: 'main', flags, program, targets })),
    ),
  ];
}

/** The part that every test run can afford: the running Node. */
export function quick() {
  const line = process.versions.node.split('.')[0];
  return cells().filter(({ node }) => node === line);
}

export { FIXTURES };
