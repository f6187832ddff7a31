import { randomUUID } from 'node:crypto';
import { isAllowed } from './commands/guards.js';
import { CommandRouter } from './commands/router.js';
import { answerSibling, siblingsOf } from './commands/siblings.js';
import type { Settings } from './config.js';
import { EVENT_KINDS } from './dispatcher.js';
import type { Engine, JsonObject, JsonValue } from './engine.js';
import { Flow } from './flow/flow.js';
import { touchedTasks } from './flow/touched.js';
import { Watch } from './flow/watch.js';
import { Heartbeat } from './heartbeat.js';
import { HelloBuilder } from './hello.js';
import { type Identity, shorten } from './identity.js';
import { isLendable } from './journal/durable.js';
import { Legacy, type LegacyTimes } from './legacy.js';
import {
  Link,
  type LinkOptions,
  type LinkPort,
  type LinkSession,
  type LinkStats,
  type PortCommand,
  type Reply,
} from './link/index.js';
import type { Log } from './log.js';
import type { HelloPayload, TelemetryLoss } from './protocol/index.js';
import type { Redactor } from './redactor.js';
import type { BatchAck } from './schedules/epoch.js';
import { LONGPOLL } from './schedules/mirror.js';
import { Schedules } from './schedules/schedules.js';
import type { Storage } from './storage.js';
import { taskHash } from './task-ids.js';
import { ThreadLink, type ThreadLinkOptions } from './thread/thread-link.js';

export interface AgentLinkOptions {
  readonly settings: Settings;
  readonly secret: Buffer;
  readonly identity: Identity;
  readonly storage: Storage;
  readonly engines: ReadonlyMap<string, Engine>;
  readonly redactor: Redactor;
  readonly log: Log;
  readonly legacy?: LegacyTimes;
  readonly link?: Pick<LinkOptions, 'times' | 'backoff' | 'env'>;
}

/** At which level a row of an inventory stands in its event. */
const ROW_DEPTH = 5;

/** Between a change of the inventory and the hello that tells it, in milliseconds. */
const INVENTORY_MS = 2000;

/** What hangs on the link: hello, heartbeat, commands and schedules of one agent. */
export class AgentLink {
  /** For the dispatcher. */
  readonly watch = new Watch((...note) => this.#link.note(...note));
  readonly #options: AgentLinkOptions;
  readonly #hello = new HelloBuilder();
  readonly #runtimeId = randomUUID();
  readonly #heartbeat: Heartbeat;
  readonly #schedules: Schedules;
  readonly #router: CommandRouter;
  readonly #link: LinkPort;
  readonly #legacy: Legacy;
  #session: LinkSession | undefined;
  #told = '';
  /** Twins under our worker id that were met so far. */
  #twins = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: AgentLinkOptions) {
    this.#options = options;
    const { settings, secret, identity, storage, redactor, log } = options;
    const engines = (): readonly Engine[] => [...options.engines.values()];
    this.#heartbeat = new Heartbeat({
      engines,
      journal: () => storage.journal,
      lastFlushAt: () => {
        const at = this.#link.stats.lastAckAt;
        return at === undefined ? null : new Date(at).toISOString();
      },
      loss: () => this.#loss() as JsonObject | null,
    });
    this.#schedules = new Schedules({
      link: {
        send: (records, timeoutMs) => this.#sendEvents(records, timeoutMs),
        reconnect: (reason) => this.#link.reconnect(reason),
      },
      texts: storage.texts,
      // A brain counts levels from the event that carries the rows.
      redact: (value) => JSON.parse(redactor.print(value, ROW_DEPTH)) as JsonValue,
      log,
      schedulerName: (engine) => identity.schedulerName(engine),
    });
    this.#router = new CommandRouter({
      engines,
      memory: storage.results,
      allowed: settings.allowCommands,
      purge: { secret, threshold: settings.purgeThreshold, acceptLegacyToken: settings.acceptLegacyPurgeToken },
      excerpt: (text, bytes) => String(redactor.redact(text)).slice(-bytes),
      siblings: siblingsOf(storage),
      log,
      schedules: (command) => this.#schedules.handle(command),
    });
    this.#legacy = new Legacy({
      storage,
      answer: (id, result) => this.#link.answer(id, result),
      times: options.legacy,
    });
    const onWatch = (on: boolean): void => {
      this.watch.on = on;
    };
    const flow = settings.delivery === 'complete' ? undefined : { share: settings.sampleSuccess, onWatch };
    const link = {
      url: settings.brainUrl,
      token: settings.token,
      secret,
      transport: settings.transport,
      allowPlain: settings.allowInsecure,
      log,
      ...options.link,
      times: { heartbeat: settings.heartbeatSeconds * 1000, ...options.link?.times },
      hello: () => this.#payload(),
      heartbeat: (signal) => this.#heartbeat.payload(signal),
      agentStatus: () => ({ telemetry_loss: this.#loss() }),
      onCommand: (command, reply) => this.#command(command, reply),
      onSession: (session) => this.#onSession(session),
      onResultWritten: (id) => this.#legacy.written(id),
      onReplaced: () => {
        this.#twins += 1;
      },
    } satisfies Omit<ThreadLinkOptions, 'journal'>;
    const { journal } = storage;
    this.#link =
      settings.thread && isLendable(journal)
        ? new ThreadLink({ ...link, journal, flow })
        : new Link({ ...link, journal, selection: flow && new Flow({ ...flow, log }) });
  }

  get stats(): LinkStats {
    return this.#link.stats;
  }

  /** Answers a sibling; undefined when it is not about commands. */
  answer(message: JsonValue): Promise<JsonValue | undefined> {
    return answerSibling(message, this.#router);
  }

  start(): void {
    this.#schedules.watch([...this.#options.engines.values()]);
    this.#link.start();
    this.#legacy.start();
  }

  async stop(timeoutMs: number): Promise<void> {
    clearTimeout(this.#timer);
    this.#schedules.close();
    this.#heartbeat.stop();
    this.#legacy.stop();
    await this.#link.stop({ timeoutMs });
  }

  flush(timeoutMs: number): Promise<boolean> {
    return this.#link.flush(timeoutMs);
  }

  /** The brain is told with a new hello when there is something new in it. */
  inventoryChanged(): void {
    if (this.#told === '' || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      const told = this.#told;
      this.#payload();
      if (told !== this.#told) this.#link.reconnect('the inventory of this process changed');
    }, INVENTORY_MS);
    this.#timer.unref();
  }

  #payload(): HelloPayload {
    const { settings, identity, engines } = this.#options;
    this.#schedules.watch([...engines.values()]);
    const suffix = this.#twins === 0 ? '' : `~${this.#twins + 1}`;
    const payload = this.#hello.build({
      engines: [...engines.values()],
      schedulerName: (engine) => this.#schedules.ownerOf(engine),
      workerId: shorten(`${identity.workerId}${suffix}`, 128),
      hostName: identity.agentName,
      workerRole: settings.workerRole,
      allowed: (action) => isAllowed(action, settings.allowCommands),
      schedules: this.#schedules.isWanted,
    });
    this.#told = JSON.stringify(payload);
    return payload;
  }

  #loss(): TelemetryLoss | null {
    const { losses } = this.#options.storage.journal;
    const { givenUp, leftOut } = this.#link.stats;
    if (losses.records === 0 && givenUp === 0 && leftOut === 0) return null;
    const named: [string, number][] = [...losses.byKind].map(([kind, count]) => [
      EVENT_KINDS[kind] ?? 'unknown',
      count,
    ]);
    if (leftOut > 0) named.unshift(['sampled_out', leftOut]);
    return {
      buffer_id: this.#options.identity.workerId.slice(0, 64),
      runtime_id: this.#runtimeId,
      capacity_evicted_frames: 0,
      content_rejected_frames: givenUp,
      event_records: losses.records,
      command_results: 0,
      other_frames: 0,
      unclassified_frames: 0,
      adapter_events: Object.fromEntries(named.slice(0, 32)),
    };
  }

  #onSession(session: LinkSession | undefined): void {
    this.#session = session;
    if (session === undefined) {
      this.#schedules.disconnected();
      return;
    }
    this.#schedules.connected(session.transport === 'ws' ? session.brainVersion : LONGPOLL);
    // What is said of schedules depends on the brain's version, which the hello could not know.
    this.inventoryChanged();
  }

  async #sendEvents(records: readonly Buffer[], timeoutMs: number): Promise<BatchAck> {
    const session = this.#session;
    if (session === undefined) throw new Error('there is no connection');
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer for ${timeoutMs} ms`)), timeoutMs);
      timer.unref();
    });
    try {
      return await Promise.race([session.sendEvents(records), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #command(command: PortCommand, reply: Reply): void {
    reply.ack();
    const { id, action, target, parameters, timeoutSeconds, issuedBy } = command;
    void this.#router
      .handle({
        id,
        action,
        target: target as JsonObject,
        parameters: parameters as JsonObject,
        timeoutSeconds,
        issuedBy,
      })
      .then((result) => {
        reply.result(result);
        // The brain's own questions, which nobody issued, come for every task.
        if (issuedBy === null) return;
        for (const { engine, taskId } of touchedTasks(parameters as JsonObject, result.result)) {
          this.watch.touched(taskHash(engine, taskId));
        }
      });
  }
}
