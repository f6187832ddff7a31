import type { ReceivedCommand } from '../commands/router.js';
import {
  CommandError,
  type Engine,
  type JsonObject,
  type JsonValue,
  type Scheduler,
  type SchedulesMemory,
} from '../engine.js';
import type { Log } from '../log.js';
import {
  type Authority,
  type PlainObject,
  readAuthority,
  rowDigest,
  type ScheduleRow,
  sameRow,
} from '../protocol/index.js';
import { RefusedSnapshot, type ScheduleLink } from './epoch.js';
import { Lease } from './lease.js';
import { scheduleMemory, type TextStore } from './memory.js';
import { LONGPOLL, mirrorOf } from './mirror.js';
import { type LastingScheduler, lasting } from './overrides.js';
import { definitionOf, type Redact } from './rows.js';
import { type Candidate, Standby } from './standby.js';
import { ScheduleStream, type StreamTimes } from './stream.js';

export interface SchedulesOptions extends StreamTimes {
  readonly link: ScheduleLink;
  /** Rows a brain knows, names that had to be changed, what operators decided. */
  readonly texts: TextStore;
  readonly redact: Redact;
  readonly log: Log;
  /** `<service>-<engine>`, ≤ 40 characters. */
  readonly schedulerName: (engine: string) => string;
  /**
   * After it a process that was not asked for its schedules connects anew to take over, whatever it knows. Default
   * 300 000 ms; 120 000 ms where it knows nothing of who has them.
   */
  readonly retryMs?: number;
  /** How often a process that stands by looks whether the other one is still there. Default 5000 ms. */
  readonly lookMs?: number;
  /** How often whoever publishes says that it is there: a third of what makes it dead. Default 15 000 ms. */
  readonly renewMs?: number;
  /** Least time between two connections that were made because a snapshot failed. Default 5000 ms, then doubled. */
  readonly repeatMs?: number;
  /** How soon decisions of siblings are in force. Default 2000 ms. */
  readonly watchMs?: number;
}

/** Unchanged rows are published again so often, in milliseconds: what a brain lost comes back. */
const PERIOD_MS = 900_000;
const LONGEST_REPEAT_MS = 600_000;
const MOST_NAMES = 9;

const text = (parameters: JsonObject, key: string): string => {
  const value = parameters[key];
  if (typeof value === 'string' && value !== '') return value;
  throw new CommandError('invalid', `Expected \`${key}\` to be a text`);
};

interface Source extends Candidate {
  readonly engine: Engine;
  readonly scheduler: LastingScheduler;
  stream: ScheduleStream;
  lease: Lease;
}

/** The schedules of all engines: one stream each, alive while the brain has activated it on this connection. */
export class Schedules {
  readonly #options: SchedulesOptions;
  readonly #link: ScheduleLink;
  /** By engine. */
  readonly #sources = new Map<string, Source>();
  /** Owners whose first snapshot was refused once although it held all that was remembered. */
  readonly #doubted = new Set<string>();
  #version = '';
  #period: NodeJS.Timeout | undefined;
  readonly #standby: Standby;
  #renewal: NodeJS.Timeout | undefined;
  #repeat: NodeJS.Timeout | undefined;
  #repeatMs = 0;
  /** Owners whose stream this process had on an earlier connection, or has. */
  readonly #held = new Set<string>();

  constructor(options: SchedulesOptions) {
    this.#options = options;
    this.#link = { send: options.link.send, reconnect: (reason) => this.#reconnect(reason) };
    const { retryMs, lookMs } = options;
    this.#standby = new Standby({
      candidates: () => this.#sources.values(),
      retryMs,
      lookMs,
      takeOver: (idle, isDue) => this.#takeOver(idle, isDue),
    });
  }

  /** Whether the brain is to be told that there are schedules; as far as its version is known. */
  get isWanted(): boolean {
    return this.#version === LONGPOLL || mirrorOf(this.#version) !== 'none';
  }

  /** The name under which an engine's schedules are published: another one where its own was taken. */
  ownerOf(engine: string): string {
    const base = this.#options.schedulerName(engine);
    return this.#options.texts.get(`owner:${base}`) ?? base;
  }

  /** Makes the streams of the engines that have schedules, and puts in force what operators decided. Idempotent. */
  watch(engines: readonly Engine[]): void {
    const { texts, log, watchMs } = this.#options;
    for (const engine of engines) {
      if (engine.scheduler === undefined) continue;
      const known = this.#sources.get(engine.name);
      const owner = this.ownerOf(engine.name);
      if (known === undefined) {
        const options = { engine: engine.name, scheduler: engine.scheduler, texts, log };
        const scheduler = lasting({ ...options, ...(watchMs === undefined ? {} : { watchMs }) });
        const stream = this.#stream(owner, engine, scheduler);
        this.#sources.set(engine.name, { engine, scheduler, stream, lease: this.#lease(owner, scheduler) });
      } else if (known.stream.owner !== owner) {
        known.stream.close();
        known.stream = this.#stream(owner, engine, known.scheduler);
        known.lease = this.#lease(owner, known.scheduler);
      }
    }
  }

  #lease(owner: string, scheduler: Scheduler): Lease {
    const { texts, renewMs = 15_000 } = this.#options;
    const broker = (): SchedulesMemory | undefined => scheduler.memory?.(`${owner}~lease`);
    return new Lease({ owner, home: texts, broker, staleMs: 3 * renewMs });
  }

  #stream(owner: string, engine: Engine, scheduler: Scheduler): ScheduleStream {
    const memory = scheduleMemory(owner, this.#options.texts, () => scheduler.memory?.(owner));
    return new ScheduleStream({ ...this.#options, link: this.#link, owner, engine, scheduler, memory });
  }

  get #streams(): ScheduleStream[] {
    return [...this.#sources.values()].map(({ stream }) => stream);
  }

  /** A connection is up; a brain from 1.13 on now asks for the streams it wants from it. */
  connected(brainVersion: string): void {
    this.disconnected();
    this.#version = brainVersion;
    const mirror = mirrorOf(brainVersion);
    if (mirror === 'none') {
      if (brainVersion === LONGPOLL || this.#sources.size === 0) return;
      this.#options.log.once(
        'schedules.mirror',
        'warn',
        `schedules are not mirrored on brain ${brainVersion}: a lost connection could end their stream for good there; brains from 1.13 on show them`,
      );
      return;
    }
    this.#options.log.over('schedules.mirror');
    this.#period = setInterval(() => void this.resync('periodic'), PERIOD_MS);
    this.#period.unref();
    if (mirror === 'plain') {
      for (const stream of this.#streams) stream.tellPlainly().catch((cause) => this.#failed(stream, cause));
    } else {
      this.#renewal = setInterval(() => {
        for (const { stream, lease } of this.#sources.values()) if (stream.active) lease.renew();
      }, this.#options.renewMs ?? 15_000);
      this.#renewal.unref();
      this.#standby.start(this.#streams.some(({ active, owner }) => !active && this.#held.has(owner)));
    }
  }

  #takeOver(idle: readonly Candidate[], isDue: boolean): void {
    if (isDue) {
      this.#held.clear();
      this.#repeatMs = 0;
      for (const { stream } of idle) stream.tellHidden().catch((cause) => this.#failed(stream, cause));
    }
    this.#options.link.reconnect('to take over schedules');
  }

  disconnected(): void {
    clearInterval(this.#period);
    clearInterval(this.#renewal);
    this.#standby.stop();
    clearTimeout(this.#repeat);
    for (const stream of this.#streams) stream.deactivate();
  }

  close(): void {
    for (const { stream, lease } of this.#sources.values()) if (stream.active) lease.release();
    this.disconnected();
    for (const { stream, scheduler } of this.#sources.values()) {
      stream.close();
      scheduler.close();
    }
    this.#sources.clear();
  }

  /** Publishes every activated inventory; resolves with how many there were. */
  async resync(reason: string): Promise<number> {
    const active = this.#streams.filter((stream) => stream.active);
    await Promise.all(
      active.map((stream) => stream.refresh(reason, true).catch((cause) => this.#failed(stream, cause))),
    );
    return active.length;
  }

  /** Carries out `schedule.*`; resolves with the result or rejects with a `CommandError`. */
  async handle({ action, parameters, target }: ReceivedCommand): Promise<JsonValue> {
    if (action === 'schedule.resync') return { schedulers_drained: await this.resync('command') };
    const owner = String(parameters.scheduler ?? target.scheduler ?? target.id ?? '');
    const source = [...this.#sources.values()].find(({ stream }) => stream.owner === owner);
    switch (action) {
      case 'schedule.external.activate':
        return this.#activate(known(source, owner), parameters);
      case 'schedule.external.mutate':
        return this.#mutate(known(source, owner), parameters);
      case 'schedule.external.control':
        return this.#control(known(source, owner), parameters);
      default:
        return this.#plain(action, parameters, source);
    }
  }

  async #activate({ engine, stream, lease }: Source, parameters: JsonObject): Promise<JsonValue> {
    if (!this.isWanted) throw new CommandError('unsupported', `no schedules are mirrored on brain ${this.#version}`);
    const { log } = this.#options;
    try {
      lease.renew();
      const result = await stream.activate(readAuthority(parameters as PlainObject));
      this.#standby.succeeded();
      this.#doubted.delete(stream.owner);
      this.#held.add(stream.owner);
      return result;
    } catch (cause) {
      log.debug(`schedules of ${stream.owner}: ${String(cause)}`);
      if (cause instanceof CommandError && cause.code === 'unsupported') {
        log.once(`unlisted:${stream.owner}`, 'warn', `schedules of ${engine.name} are not shown: ${cause.message}`);
      } else if (cause instanceof RefusedSnapshot) {
        if (cause.sequence === 1) this.#refused(engine.name, stream.owner, stream.remembers);
      } else if (!(cause instanceof CommandError && cause.code === 'conflict')) {
        this.#reconnect(`the schedules of ${stream.owner} could not be listed`);
      }
      throw cause instanceof CommandError ? cause : new CommandError('failed', (cause as Error).message, { cause });
    }
  }

  /**
   * The brain holds schedules this process does not know. With a memory it may have been a passing fault: once more.
   * Without one nothing but another name helps, since no call of the brain removes them.
   */
  #refused(engine: string, owner: string, remembers: boolean): void {
    const { log, texts, schedulerName } = this.#options;
    if (remembers && !this.#doubted.has(owner)) {
      this.#doubted.add(owner);
      this.#reconnect(`the first snapshot of ${owner} was refused`);
      return;
    }
    const base = schedulerName(engine);
    const number = owner === base ? 1 : Number(owner.slice(owner.lastIndexOf('-') + 1));
    if (number >= MOST_NAMES) {
      log.once(
        `owner:${base}`,
        'error',
        `schedules of ${engine} are not shown: the brain refused them under ${number} names; keep Z4J_HOME on a volume, or set another Z4J_SERVICE_NAME`,
      );
      return;
    }
    const suffix = `-${number + 1}`;
    const next = `${base.slice(0, 40 - suffix.length)}${suffix}`;
    texts.set(`owner:${base}`, next);
    log.warn(
      `the brain holds schedules of ${owner} that this process does not know, and offers no way to remove them: they stay in the dashboard, and the schedules of this process are shown under ${next}. It happens when Z4J_HOME is lost: keep it on a volume`,
    );
    this.#reconnect(`schedules go on under ${next}`);
  }

  /** At once the first time; later and later where it does not help. */
  #reconnect(reason: string): void {
    const { link, repeatMs = 5000 } = this.#options;
    const wait = this.#repeatMs;
    this.#repeatMs = Math.min(Math.max(repeatMs, wait * 2), LONGEST_REPEAT_MS);
    clearTimeout(this.#repeat);
    if (wait === 0) {
      link.reconnect(reason);
      return;
    }
    this.#repeat = setTimeout(() => link.reconnect(reason), wait);
    this.#repeat.unref();
  }

  #failed(stream: ScheduleStream, cause: unknown): void {
    this.#options.log.debug(`schedules of ${stream.owner}: ${String(cause)}`);
  }

  async #mutate({ stream }: Source, parameters: JsonObject): Promise<JsonValue> {
    const { scheduler } = stream;
    const operation = text(parameters, 'operation');
    const given = parameters.definition;
    const definition = definitionOf((typeof given === 'object' && given !== null ? given : {}) as JsonObject);
    const request = {
      operationId: text(parameters, 'operation_id'),
      operation,
      sourceKey: (parameters.schedule_id as string | null) ?? null,
      expected: operation === 'create' ? null : ((parameters.expected ?? {}) as object),
      authority: parameters as unknown as Authority,
    };
    return this.#published(stream, () =>
      stream.mutate(request, async (name) => {
        switch (operation) {
          case 'create':
            return { name: await scheduler.create(definition), result: null };
          case 'update':
            await scheduler.update(name, definition);
            return { name: definition.name ?? name, result: null };
          case 'delete':
            await scheduler.delete(name);
            return { name: undefined, result: null };
          case 'trigger':
            return { name, result: await scheduler.trigger(name) };
          default:
            throw new CommandError('unsupported', `${operation} is not an operation of schedules`);
        }
      }),
    );
  }

  async #control({ stream }: Source, parameters: JsonObject): Promise<JsonValue> {
    const desired = parameters.desired_projection as unknown as ScheduleRow;
    const expected = text(parameters, 'expected_projection_digest');
    const request = {
      operationId: text(parameters, 'operation_id'),
      sourceKey: text(parameters, 'source_key'),
      authority: parameters as unknown as Authority,
      expectedSequence: Number(parameters.expected_accepted_sequence),
    };
    return this.#published(stream, () =>
      stream.control(
        request,
        (row) => rowDigest(row) === expected || sameRow(row, desired, ['next_run_at']),
        (name) => stream.scheduler.update(name, { enabled: desired.is_enabled }),
      ),
    );
  }

  async #published(stream: ScheduleStream, change: () => Promise<JsonValue>): Promise<JsonValue> {
    try {
      return await change();
    } catch (cause) {
      if (cause instanceof CommandError) throw cause;
      this.#failed(stream, cause);
      throw new CommandError('failed', (cause as Error).message, { cause });
    }
  }

  /** `schedule.enable`, `.disable` and `.trigger_now` of brains before 1.13, by name. */
  async #plain(action: string, parameters: JsonObject, only?: Source): Promise<JsonValue> {
    const name = text(parameters, typeof parameters.schedule_name === 'string' ? 'schedule_name' : 'schedule_id');
    for (const { stream } of only === undefined ? this.#sources.values() : [only]) {
      const { scheduler } = stream;
      const listed = (await scheduler.list()).some((schedule) => schedule.name === name);
      if (!listed) continue;
      if (action === 'schedule.trigger_now') return scheduler.trigger(name);
      if (action === 'schedule.enable' || action === 'schedule.disable') {
        await scheduler.update(name, { enabled: action === 'schedule.enable' });
      } else if (action === 'schedule.delete') await scheduler.delete(name);
      else throw new CommandError('unsupported', `unsupported action ${action}`);
      await stream.refresh('command');
      return { schedule: name };
    }
    throw new CommandError('not_found', `no schedule ${name} in this process`);
  }
}

function known(source: Source | undefined, owner: string): Source {
  if (source === undefined) throw new CommandError('not_found', `no scheduler ${owner} in this process`);
  return source;
}
