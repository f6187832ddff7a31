import { existsSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type StubBrain, type StubCommand, stubBrain } from '../../src/testing/index.js';
import { type Child, runChild } from '../support/child.js';
import { waitFor } from '../support/net.js';
import { type Redis, startRedis } from '../support/redis.js';
import { QUIET } from './fixtures.mjs';
import { node, stage } from './run.mjs';

const MINUTE = 60_000;
const WORK = ['work first', 'work second', 'work report host', 'work report brain', 'work yearly'];

/** When the host's tracing begins: as the first preload, after ours, or when our connection is open. */
type Order = 'before us' | 'after us' | 'when we are connected';

interface Span {
  readonly name: string;
  readonly parent?: string;
  readonly attributes: { readonly [name: string]: unknown };
}

let count = 0;

class Host implements AsyncDisposable {
  readonly child: Child;
  readonly #file: string;
  readonly #redis: Redis;

  constructor(child: Child, file: string, redis: Redis) {
    this.child = child;
    this.#file = file;
    this.#redis = redis;
  }

  spans(): readonly Span[] {
    if (!existsSync(this.#file)) return [];
    const lines = readFileSync(this.#file, 'utf8').split('\n').slice(0, -1);
    return lines.map((line) => JSON.parse(line) as Span);
  }

  /** Waits until the host has traced its own work as often as it was asked for. */
  async worked(names: readonly string[]): Promise<void> {
    const times = (name: string, all: readonly { name: string }[]): number =>
      all.filter((span) => span.name === name).length;
    const wanted = names.map((name) => ({ name }));
    await waitFor(
      () => {
        const spans = this.spans();
        return names.every((name) => times(name, spans) >= times(name, wanted));
      },
      {
        timeout: MINUTE,
        what: () =>
          `${names.join()}, got ${this.spans()
            .map(({ name }) => name)
            .join()}`,
      },
    );
  }

  /** What kinds of spans there are: what is done, where, and whether inside of another span. */
  kinds(): readonly string[] {
    const redis = String(this.#redis.port);
    const kind = ({ name, parent = '', attributes }: Span): string => {
      const first = (...keys: string[]): string => String(keys.map((key) => attributes[key]).find(Boolean) ?? '');
      const script = /^evalsha (\w+)/i.exec(first('db.query.text', 'db.statement', 'redis.raw_command'))?.[1];
      const path = first('url.full', 'http.url').replace(/^.*:\d+/, '');
      const port = first('server.port', 'net.peer.port', 'network.destination.port', 'out.port');
      const title = name === 'redis.command' ? `${name} ${first('resource')}` : name.replace(/ [\d.]+:\d+$/, '');
      const at = port === redis ? 'redis' : port === '' ? '' : 'elsewhere';
      const what = [title, script, path, at].filter(Boolean).join(' ');
      return /[^0]/.test(parent) ? `${what} in a span` : what;
    };
    return [...new Set(this.spans().map(kind))].sort();
  }

  /** With this port in an attribute: its value, or behind a host's name; its digits also occur within times. */
  mentions(port: string): readonly Span[] {
    const found = new RegExp(`:"?${port}(?!\\d)`);
    return this.spans().filter(({ attributes }) => found.test(JSON.stringify(attributes)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.child[Symbol.asyncDispose]();
    await this.#redis.stop();
  }
}

interface Tracing {
  readonly fixture: string;
  readonly preload: string;
  /** The release line it runs on, where that is not the running one. */
  readonly line?: string;
}

interface Situation {
  readonly folder: string;
  readonly tracing: Tracing;
  readonly order: Order;
  readonly env?: { readonly [name: string]: string };
  readonly brain?: StubBrain;
}

async function host({ folder, tracing, order, env, brain }: Situation): Promise<Host> {
  const redis = await startRedis();
  const file = join(folder, `spans-${count++}`);
  const preload = pathToFileURL(join(folder, tracing.preload)).href;
  const ours = brain === undefined ? [] : ['@z4j/bare/register'];
  const preloads = { 'before us': [preload, ...ours], 'after us': [...ours, preload], 'when we are connected': ours };
  const child = await runChild({
    target: folder,
    program: join(folder, 'traced.cjs'),
    register: false,
    ...(tracing.line === undefined ? {} : { node: await node(tracing.line) }),
    nodeArgs: preloads[order].flatMap((one) => ['--import', one]),
    env: {
      ...QUIET,
      // `none` switches Datadog off too.
      OTEL_TRACES_EXPORTER: '',
      DD_TRACE_EXPERIMENTAL_EXPORTER: 'log',
      DD_TRACE_PARTIAL_FLUSH_MIN_SPANS: '1',
      SPANS: file,
      BROKER: redis.url,
      ...(brain === undefined ? { ALONE: '1' } : brain.env),
      ...(order === 'when we are connected' ? { LATE: preload } : {}),
      ...env,
    },
  });
  return new Host(child, file, redis);
}

async function command(brain: StubBrain, action: string, parameters: StubCommand['parameters'] = {}): Promise<unknown> {
  const outcome = await brain.command({ action, parameters }, { timeoutMs: MINUTE });
  expect(outcome).toMatchObject({ status: 'success', error: null });
  return outcome.result;
}

/** Everything that the agent does with a broker, beside heartbeats. */
async function operate(brain: StubBrain): Promise<void> {
  const submit = (engine: string, name: string, queue: string, args: readonly object[]): Promise<unknown> =>
    command(brain, 'submit_task', { engine, task_name: name, queue, args, kwargs: {} });
  await submit('bullmq', 'second', 'mails', [{}]);
  await submit('agenda', 'report', 'report', [{ by: 'brain' }]);
  await submit('node-cron', 'yearly', 'yearly', []);
  await command(brain, 'dlq.list', { engine: 'bullmq', queue: 'mails' });
  await command(brain, 'dlq.list', { engine: 'agenda', queue: 'report' });
}

/** What the host traces by itself, as `kinds()`. */
async function ownKinds(folder: string, tracing: Tracing): Promise<readonly string[]> {
  await using alone = await host({ folder, tracing, order: 'before us' });
  await alone.worked(WORK);
  // The rarest of what a worker does by itself is done every second, and so is this.
  const waits = (): readonly Span[] => alone.spans().filter((span) => JSON.stringify(span).includes('bzpopmin'));
  await waitFor(() => waits().length > 5, { timeout: MINUTE, what: 'five seconds of a worker' });
  return alone.kinds();
}

const OTEL: Tracing = { fixture: 'opentelemetry', preload: 'traces.mjs' };
const SENTRY: Tracing = { fixture: 'sentry', preload: 'traces-sentry.mjs' };
const DATADOG: Tracing = { fixture: 'datadog', preload: 'traces-datadog.mjs', line: '22' };

describe.each([
  [
    'OpenTelemetry with all its instrumentations',
    OTEL,
    [
      ['ws', 'before us'],
      ['longpoll', 'before us'],
      ['ws', 'after us'],
      ['longpoll', 'when we are connected'],
    ],
  ],
  ['Sentry', SENTRY, [['ws', 'before us']]],
  ['Datadog', DATADOG, [['ws', 'after us']]],
] as const)('%s', (_name, tracing, ways) => {
  let folder: string;
  let own: readonly string[];

  beforeAll(async () => {
    folder = await stage(tracing.fixture);
    own = await ownKinds(folder, tracing);
  }, 5 * MINUTE);
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test('the host alone is traced', () => {
    expect(own).toEqual(expect.arrayContaining(['work first in a span', 'work yearly', 'start']));
    expect(own).toEqual(expect.arrayContaining([expect.stringMatching(/evalsha \w+ redis in a span/)]));
    expect(own).toEqual(expect.arrayContaining([expect.stringMatching(/ \/own elsewhere in a span/)]));
  });

  test.each(ways)('%s, tracing begins %s', { timeout: 3 * MINUTE }, async (transport, order) => {
    await using brain = await stubBrain({ heartbeatSeconds: 1 });
    await using traced = await host({ folder, tracing, order, brain, env: { Z4J_TRANSPORT: transport } });
    if (order === 'when we are connected') {
      await brain.until(() => brain.heartbeats.length > 0, MINUTE);
      traced.child.kill('SIGUSR2');
    }
    await traced.child.printed('started', MINUTE);
    const beats = brain.heartbeats.length + 1;
    await brain.until(() => brain.heartbeats.length > beats, MINUTE);
    expect(Object.keys(brain.heartbeats.at(-1)?.adapter_health as object)).toEqual(
      expect.arrayContaining(['bullmq.queue_depths', 'agenda.queue_depths']),
    );
    await operate(brain);
    await traced.worked(WORK);
    expect(traced.mentions(new URL(brain.url).port)).toEqual([]);
    expect(traced.kinds().filter((kind) => !own.includes(kind))).toEqual([]);
    expect(traced.child.stderr()).toBe('');
  });

  test('what the host does when an operator asks for it is traced', { timeout: 3 * MINUTE }, async () => {
    await using brain = await stubBrain();
    const env = { Z4J_AGENT_NAME: 'desk', Z4J_SERVICE_NAME: 'app' };
    await using traced = await host({ folder, tracing, order: 'before us', brain, env });
    await traced.child.printed('started', MINUTE);
    await brain.until(() => brain.schedules('app-node-cron').length === 1, MINUTE);
    await command(brain, 'restart_worker', { worker_name: 'desk:mails' });
    await command(brain, 'submit_task', { engine: 'bullmq', task_name: 'third', queue: 'mails', args: [], kwargs: {} });
    const definition = { expression: '* * * * * *' };
    await brain.operate({ scheduler: 'app-node-cron', operation: 'update', schedule: 'yearly', definition });
    await traced.worked(['work third', 'work yearly', 'work yearly']);
  });
});
