import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { AgentLink, type AgentLinkOptions } from '../../src/agent-link.js';
import { type AgentOptions, readConfiguration } from '../../src/config.js';
import { Dispatcher } from '../../src/dispatcher.js';
import { hub } from '../../src/hub.js';
import { identityOf } from '../../src/identity.js';
import type { LinkStats } from '../../src/link/index.js';
import { instrument } from '../../src/loading/instrument.js';
import { createLog } from '../../src/log.js';
import { decodeSecret } from '../../src/protocol/index.js';
import { Redactor } from '../../src/redactor.js';
import { openStorage } from '../../src/storage.js';
import type { StubBrain } from '../../src/testing/index.js';
import { waitFor } from '../support/net.js';
import { createHost, eventsOf, type Fate, fate } from './fixtures/jobs.mjs';

/** Adds jobs and works them off. */
export interface Host {
  /** The queue's name. */
  readonly name: string;
  /** Resolves when so many jobs were added; their ids are `<prefix>-<number>`. */
  add(prefix: string, count: number): Promise<void>;
}

export type BullMQ = Parameters<typeof createHost>[0];

export const loadBullMQ = (folder: string): BullMQ => createRequire(join(folder, 'index.js'))('bullmq') as BullMQ;

export interface LocalHost extends Host {
  /** What the agent said. */
  readonly lines: readonly string[];
  readonly link: LinkStats;
  /** Records that were not confirmed. */
  readonly kept: number;
  /** Ends the connection for good and makes another one. */
  connect(brain: AgentOptions, times?: Pick<AgentLinkOptions, 'link' | 'legacy'>): Promise<void>;
  close(): Promise<void>;
}

interface LocalHostOptions {
  readonly home: string;
  readonly redisPort: number;
  readonly name: string;
  /** Agents of one home that have it, too, are siblings. */
  readonly brainUrl?: string;
}

/** The parts of an agent in this process, with a link whose times can be turned, and a host with BullMQ around them. */
export async function startLocalHost(
  bullmq: BullMQ,
  { home, redisPort, name, brainUrl = 'http://127.0.0.1' }: LocalHostOptions,
): Promise<LocalHost> {
  const lines: string[] = [];
  const log = createLog({ level: 'warn', write: (line) => lines.push(line) });
  const { settings } = readConfiguration({ home, brainUrl, serviceName: 's', agentName: 'h', delivery: 'complete' });
  const storage = await openStorage(settings, log);
  const redactor = new Redactor();
  const identity = identityOf(settings, storage.slot);
  const dispatcher = new Dispatcher({
    journal: storage.journal,
    redactor,
    identity: { workerName: (_engine, queue) => identity.workerName(queue) },
  });
  let link: AgentLink | undefined;
  hub.recorder = {
    record: (event) => dispatcher.record(event),
    engine(engine) {
      hub.engines.set(engine.name, engine);
      engine.start({
        workerName: (queue) => identity.workerName(queue),
        record: (event) => dispatcher.record(event),
        inventoryChanged: () => link?.inventoryChanged(),
        warn: (cause, message) => void log.once(cause, 'warn', message),
        slot: storage.slot,
      });
    },
  };
  instrument(bullmq);
  const host = createHost(bullmq, { host: '127.0.0.1', port: redisPort, maxRetriesPerRequest: null }, name);
  await host.ready();
  return {
    name,
    lines,
    get link() {
      return (link as AgentLink).stats;
    },
    get kept() {
      return storage.journal.size.records;
    },
    add: host.add,
    async connect(brain, times) {
      await link?.stop(100);
      const own = readConfiguration({
        ...brain,
        home,
        serviceName: 's',
        agentName: 'h',
        delivery: 'complete',
      }).settings;
      const parts = { identity, storage, engines: hub.engines, redactor, log };
      const secret = decodeSecret(own.hmacSecret);
      link = new AgentLink({ ...parts, settings: own, secret, ...times });
      link.start();
    },
    async close() {
      await host.close();
      await link?.stop(1000);
      hub.recorder = undefined;
      storage.close();
    },
  };
}

/** What is in use after a collection, in megabytes. */
export function heap(): number {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  return process.memoryUsage().heapUsed / 1e6;
}

/** The host in a process that runs fixtures/worker.mjs. */
export function childHost(bullmq: BullMQ, redisPort: number, name: string): Host {
  return {
    name,
    async add(prefix, count) {
      const queue = new bullmq.Queue(name, { connection: { host: '127.0.0.1', port: redisPort } });
      try {
        await (await queue.client).rpush(`orders:${name}`, JSON.stringify({ prefix, count }));
      } finally {
        await queue.close();
      }
    },
  };
}

/** What has arrived at some brains, which are asked in their order. */
export class Arrivals {
  readonly #brains: { readonly brain: StubBrain; looked: number }[] = [];
  readonly #ids = new Set<string>();
  readonly #kinds = new Map<string, string[]>();

  constructor(...brains: readonly StubBrain[]) {
    for (const brain of brains) this.watch(brain);
  }

  watch(brain: StubBrain): void {
    this.#brains.push({ brain, looked: 0 });
  }

  /**
   * Kinds of the events of one task in the order of their arrival; what a second brain was told again counts once.
   * `task.sent` stands first: it is no step of the row, and a worker may have the job before its `add` is done.
   */
  of(taskId: string): readonly string[] {
    for (const entry of this.#brains) {
      const { events } = entry.brain;
      for (; entry.looked < events.length; entry.looked++) {
        const event = events[entry.looked];
        if (event === undefined || this.#ids.has(event.id)) continue;
        this.#ids.add(event.id);
        this.#kinds.set(event.taskId, [...(this.#kinds.get(event.taskId) ?? []), event.kind]);
      }
    }
    const kinds = this.#kinds.get(taskId) ?? [];
    const isSent = (kind: string): boolean => kind === 'task.sent';
    return [...kinds.filter(isSent), ...kinds.filter((kind) => !isSent(kind))];
  }
}

/** What is to arrive of so many jobs, by task id. */
export function expectedOf(
  host: Host,
  prefix: string,
  count: number,
): { readonly [taskId: string]: readonly string[] } {
  return Object.fromEntries(
    Array.from({ length: count }, (_, number) => [`${host.name}:${prefix}-${number}`, eventsOf(fate(number))]),
  );
}

/** Jobs per fate that the host has finished, as Redis says; waits until all of so many are. */
export async function finished(bullmq: BullMQ, redisPort: number, host: Host, prefix: string, count: number) {
  const queue = new bullmq.Queue(host.name, { connection: { host: '127.0.0.1', port: redisPort } });
  try {
    const client = await queue.client;
    const state = async (number: number): Promise<Fate | 'open'> => {
      const [end, failure, attempts] = await client.hmget(
        queue.toKey(`${prefix}-${number}`),
        'finishedOn',
        'failedReason',
        'atm',
      );
      if (!end) return 'open';
      if (failure && (attempts ?? '1') === '1' && fate(number) === 'fails') return 'fails';
      return attempts === '2' ? 'flaky' : 'succeeds';
    };
    let wrong: number[] = [];
    const all = Array.from({ length: count }, (_, number) => number);
    await waitFor(
      async () => {
        const states = await Promise.all(all.map(state));
        wrong = all.filter((number) => states[number] !== fate(number));
        return wrong.length === 0;
      },
      { timeout: 60_000, what: () => `the end of the jobs ${prefix} ${wrong}` },
    );
  } finally {
    await queue.close();
  }
}
