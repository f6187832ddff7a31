import { randomUUID } from 'node:crypto';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import type { Schedule, TaskEvent } from '../../../src/engine.js';
import { z4jBare } from '../../../src/esbuild.js';
import { type Child, runChild } from '../../support/child.js';
import { type Mongo, startMongo } from '../../support/mongo-substitute/index.js';
import { type Postgres, startPostgres } from '../../support/postgres.js';
import { type Redis, startRedis } from '../../support/redis.js';
import { installTarget } from '../../support/targets.mjs';

const PRELOAD = pathToFileURL(fileURLToPath(new URL('../node-cron/preload.mjs', import.meta.url))).href;

const SIX = {
  agenda: '6.2.6',
  '@agendajs/mongo-backend': '4.0.3',
  '@agendajs/postgres-backend': '3.0.6',
  '@agendajs/redis-backend': '3.0.7',
};

export type Family = 'legacy' | 'hokify' | 'six';

export interface Flavour {
  readonly name: string;
  readonly family: Family;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly store: 'mongo' | 'postgres' | 'redis';
  /** Cron plans work. */
  readonly cron: boolean;
}

export const FLAVOURS: readonly Flavour[] = [
  { name: 'agenda 3.1.0', family: 'legacy', dependencies: { agenda: '3.1.0' }, store: 'mongo', cron: false },
  { name: 'agenda 4.4.0', family: 'legacy', dependencies: { agenda: '4.4.0' }, store: 'mongo', cron: true },
  { name: 'agenda 5.0.0', family: 'legacy', dependencies: { agenda: '5.0.0' }, store: 'mongo', cron: true },
  {
    name: '@hokify/agenda 6.3.0',
    family: 'hokify',
    dependencies: { '@hokify/agenda': '6.3.0' },
    store: 'mongo',
    cron: true,
  },
  { name: 'agenda 6.2.6 on PostgreSQL', family: 'six', dependencies: SIX, store: 'postgres', cron: true },
  { name: 'agenda 6.2.6 on Redis', family: 'six', dependencies: SIX, store: 'redis', cron: true },
  { name: 'agenda 6.2.6 on MongoDB', family: 'six', dependencies: SIX, store: 'mongo', cron: true },
];

export interface Servers extends AsyncDisposable {
  readonly mongo: Mongo;
  readonly postgres: Postgres;
  readonly redis: Redis;
}

export async function startServers(): Promise<Servers> {
  const [mongo, postgres, redis] = await Promise.all([startMongo(), startPostgres(), startRedis()]);
  return {
    mongo,
    postgres,
    redis,
    async [Symbol.asyncDispose]() {
      await Promise.all([mongo.stop(), postgres.stop(), redis.stop()]);
    },
  };
}

/** A place for jobs that no other test uses; several programs may be given the same. */
export interface Place {
  readonly url: string;
  readonly id: string;
}

export function place(servers: Servers, { store }: Flavour): Place {
  const id = `t${randomUUID().replaceAll('-', '').slice(0, 12)}`;
  const url = {
    mongo: () => servers.mongo.url(),
    postgres: () => servers.postgres.url,
    redis: () => servers.redis.url,
  }[store]();
  return { url, id };
}

/** `make(options)` makes an agenda, whatever the version. */
function header({ family, dependencies, store }: Flavour, { url, id }: Place, esm: boolean, load?: string): string {
  const legacy = (main: string, Agenda: string): string =>
    `${load ?? `${esm ? `import * as all from '${main}';` : `const all = require('${main}');`}\nconst Agenda = ${Agenda};`}
     const make = (options = {}) => new Agenda({ db: { address: '${url}', collection: '${id}', options: ${'agenda' in dependencies && dependencies.agenda === '3.1.0' ? '{ useUnifiedTopology: true, useNewUrlParser: true }' : '{}'} }, processEvery: 150, ensureIndex: true, ...options });
     const define = (agenda, name, fn, options = {}) => ${family === 'hokify' ? 'agenda.define(name, fn, options)' : 'agenda.define(name, options, fn)'};`;
  if (family === 'legacy') return legacy('agenda', 'all.Agenda ?? all.default?.Agenda ?? all.default ?? all');
  if (family === 'hokify') return legacy('@hokify/agenda', 'all.Agenda ?? all.default.Agenda');
  const backend = {
    mongo: `import { MongoBackend } from '@agendajs/mongo-backend'; const backend = () => new MongoBackend({ address: '${url}', collection: '${id}', logCollection: '${id}_log' });`,
    postgres: `import { PostgresBackend } from '@agendajs/postgres-backend'; const backend = () => new PostgresBackend({ connectionString: '${url}', tableName: '${id}', logTableName: '${id}_log', channelName: '${id}_c' });`,
    redis: `import { RedisBackend } from '@agendajs/redis-backend'; const backend = () => new RedisBackend({ connectionString: '${url}', keyPrefix: '${id}:', logKeyPrefix: '${id}_log:', channelName: '${id}_c' });`,
  }[store];
  const imports = `${load ?? "import { Agenda } from 'agenda';"} ${backend}`;
  // Node 20.19 and later require ES modules.
  const lines = esm ? imports : imports.replace(/import (\{ \w+ \}) from ('[^']+');/g, 'const $1 = require($2);');
  return `${lines}
     const make = (options = {}) => new Agenda({ backend: backend(), processEvery: 150, ...options });
     const define = (agenda, name, fn, options = {}) => agenda.define(name, fn, options);`;
}

const COMMON = `
  const { print, rows, sleep, engine, execute, hub } = z4j;
  const until = async (check, what = '') => {
    for (let i = 0; i < 3000; i += 1) { if (await check()) return; await sleep(20); }
    throw new Error('waited in vain: ' + (what || check));
  };
  const attempt = async (key, call) => {
    try { print({ [key]: { ok: (await call()) ?? null } }); }
    catch (error) { print({ [key]: { error: error.message, code: error.code ?? String(error) } }); }
  };
  const scheduler = () => engine('agenda').scheduler;
  const events = [];
  { const { recorder } = hub; const record = recorder.record; recorder.record = (event) => { events.push(event); record(event); }; }
  const count = (kind, name) => events.filter((event) => event.kind === 'task.' + kind && event.data.task_name === name).length;
  const ended = (name, n = 1) => until(() => count('succeeded', name) + count('failed', name) + count('revoked', name) >= n, 'end of ' + name);
  const ready = async (agenda) => { await (agenda.ready ?? agenda._ready); return agenda; };
`;

export interface Seen {
  readonly events: readonly TaskEvent[];
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number | null;
  readonly values: readonly Record<string, unknown>[];
  value(key: string): unknown;
  rows(label: string): readonly Schedule[];
  /** Kinds of each task of a name, without prefix and schedule events, in the order told. */
  tasks(name: string): string[][];
  of(kind: string, name: string): TaskEvent[];
}

function read(child: Child, code: number | null): Seen {
  const stdout = child.stdout();
  const lines = stdout
    .split('\n')
    .filter((line) => line.startsWith('@z4j '))
    .map((line) => JSON.parse(line.slice(5)) as Record<string, unknown>);
  const events = lines.flatMap(({ event }) => (event === undefined ? [] : [event as TaskEvent]));
  return {
    events,
    stdout,
    stderr: child.stderr(),
    code,
    values: lines,
    value: (key) => lines.find((line) => key in line)?.[key],
    rows(label) {
      const found = lines.find(({ rows }) => (rows as { label?: string } | undefined)?.label === label);
      if (found === undefined) throw new Error(`no rows ${label} in\n${stdout}\n${child.stderr()}`);
      return (found.rows as { list: Schedule[] }).list;
    },
    tasks(name) {
      const byTask = new Map<string, string[]>();
      for (const { taskId, kind, data } of events) {
        if (data.task_name !== name || !kind.startsWith('task.')) continue;
        byTask.set(taskId, [...(byTask.get(taskId) ?? []), kind.slice(5)]);
      }
      return [...byTask.values()];
    },
    of: (kind, name) => events.filter((event) => event.kind === kind && event.data.task_name === name),
  };
}

export interface Host {
  readonly flavour: Flavour;
  readonly place: Place;
  readonly body: string;
  /** Runs before anything of ours is in the process; `body` comes when it is. */
  readonly before?: string;
  readonly esm?: boolean;
  readonly timeout?: number;
  /** How it gets at the class `Agenda`. */
  readonly load?: string;
  /** One file with everything in it, made by esbuild with our plug-in; in this format. */
  readonly bundle?: 'esm' | 'cjs';
}

async function bundled(source: string, resolveDir: string, format: 'esm' | 'cjs'): Promise<string> {
  const esm = { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" };
  const cjs = { js: "const here = require('node:url').pathToFileURL(__filename).href;" };
  const { outputFiles } = await build({
    stdin: { contents: source, resolveDir, loader: 'js' },
    bundle: true,
    write: false,
    platform: 'node',
    format,
    logLevel: 'silent',
    external: ['pg-native'],
    banner: format === 'esm' ? esm : cjs,
    // Agenda asks where it is.
    ...(format === 'cjs' && { define: { 'import.meta.url': 'here' } }),
    plugins: [z4jBare()],
  });
  return outputFiles[0]?.text ?? '';
}

/** Starts a host; it ends with its body. */
export async function startHost({ flavour, place: at, body, before, esm, load, bundle }: Host): Promise<Child> {
  const module = esm ?? flavour.family === 'six';
  const attached = before === undefined ? '' : `${before}\nawait import('${PRELOAD}');`;
  const source = `${header(flavour, at, module, load)}\n(async () => {\n${attached}\n${COMMON}\n${body}\nprocess.exit(0);\n})().catch((error) => { console.error(error); process.exit(1); });\n`;
  const target = await installTarget(
    flavour.name.replace(/^@|\/agenda| on .*/g, '').replace(' ', '-'),
    flavour.dependencies,
  );
  const isModule = bundle === undefined ? module : bundle === 'esm';
  return runChild({
    target,
    program: {
      source: bundle === undefined ? source : await bundled(source, target, bundle),
      name: isModule ? 'host.mjs' : 'host.cjs',
    },
    register: false,
    nodeArgs: before === undefined ? ['--import', PRELOAD] : [],
  });
}

/** Runs a host to its end and expects it to end well. */
export async function runHost(host: Host): Promise<Seen> {
  await using child = await startHost(host);
  const { code } = await child.ended(host.timeout ?? 120_000);
  // What it printed may still be in the pipe.
  await child.printed('"end":true', 2000).catch(() => {});
  const seen = read(child, code);
  if (code !== 0) throw new Error(`the host ended with ${code}\n${seen.stdout}\n${seen.stderr}`);
  return seen;
}

/** Kills a host when it has printed a text, and gives what it told. */
export async function killHost(host: Host, text: string): Promise<Seen> {
  await using child = await startHost(host);
  await child.printed(text, 60_000);
  child.kill('SIGKILL');
  await child.ended();
  return read(child, null);
}
