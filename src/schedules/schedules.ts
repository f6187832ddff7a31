import type { ReceivedCommand } from '../commands/router.js';
import { CommandError, type Engine, type JsonObject, type JsonValue } from '../engine.js';
import type { Log } from '../log.js';
import {
  type Authority,
  type PlainObject,
  readAuthority,
  rowDigest,
  type ScheduleRow,
  sameRow,
} from '../protocol/index.js';
import type { ScheduleMemory, TextStore } from './memory.js';
import { definitionOf, type Redact } from './rows.js';
import { RefusedSnapshot, ScheduleStream, type StreamLink } from './stream.js';

export interface SchedulesOptions {
  readonly link: StreamLink;
  readonly memory: ScheduleMemory;
  /** Where the names that had to be changed are kept. */
  readonly names: TextStore;
  readonly redact: Redact;
  readonly log: Log;
  /** `<service>-<engine>`, ≤ 40 characters. */
  readonly schedulerName: (engine: string) => string;
  /** Time in which a brain that wants the schedules asks for them, in milliseconds. Default 10 000. */
  readonly standbyMs?: number;
  /** After it a standby asks again, in milliseconds. Default 300 000. */
  readonly retryMs?: number;
  readonly settleMs?: number;
  readonly everyMs?: number;
  readonly ackMs?: number;
}

/** Unchanged rows are published again so often, in milliseconds: what a brain lost comes back. */
const PERIOD_MS = 900_000;
const MOST_NAMES = 9;

const text = (parameters: JsonObject, key: string): string => {
  const value = parameters[key];
  if (typeof value === 'string' && value !== '') return value;
  throw new CommandError('invalid', `Expected \`${key}\` to be a text`);
};

/** The schedules of all engines: one stream each, alive while the brain has activated it on this connection. */
export class Schedules {
  readonly #options: SchedulesOptions;
  readonly #streams = new Map<string, ScheduleStream>();
  /** Owners whose first snapshot was refused once although it held all that was remembered. */
  readonly #doubted = new Set<string>();
  #period: NodeJS.Timeout | undefined;
  #standby: NodeJS.Timeout | undefined;

  constructor(options: SchedulesOptions) {
    this.#options = options;
  }

  /** The name under which an engine's schedules are published: another one where its own was taken. */
  ownerOf(engine: string): string {
    const base = this.#options.schedulerName(engine);
    return this.#options.names.get(`owner:${base}`) ?? base;
  }

  /** Makes the streams of the engines that have schedules. Idempotent. */
  watch(engines: readonly Engine[]): void {
    for (const engine of engines) {
      const { scheduler } = engine;
      const known = this.#streams.get(engine.name);
      const owner = this.ownerOf(engine.name);
      if (known !== undefined && (scheduler === undefined || known.owner !== owner)) {
        known.close();
        this.#streams.delete(engine.name);
      }
      if (scheduler === undefined || this.#streams.has(engine.name)) continue;
      this.#streams.set(engine.name, new ScheduleStream({ ...this.#options, owner, engine, scheduler }));
    }
  }

  /** A connection is up; the brain now asks for the streams it wants from it. */
  connected(): void {
    const { standbyMs = 10_000, retryMs = 300_000, log, link } = this.#options;
    this.disconnected();
    this.#period = setInterval(() => void this.resync('periodic'), PERIOD_MS);
    this.#standby = setTimeout(() => {
      const idle = [...this.#streams.values()].filter((stream) => !stream.active).map((stream) => stream.owner);
      if (idle.length === 0) return;
      log.debug(`standing by for ${idle.join(', ')}: another process publishes these schedules`);
      this.#standby = setTimeout(() => link.reconnect('to take over schedules'), retryMs * (1 + Math.random() / 2));
      this.#standby.unref();
    }, standbyMs);
    this.#period.unref();
    this.#standby.unref();
  }

  disconnected(): void {
    clearInterval(this.#period);
    clearTimeout(this.#standby);
    for (const stream of this.#streams.values()) stream.deactivate();
  }

  close(): void {
    this.disconnected();
    for (const stream of this.#streams.values()) stream.close();
    this.#streams.clear();
  }

  /** Publishes every activated inventory; resolves with how many there were. */
  async resync(reason: string): Promise<number> {
    const active = [...this.#streams.values()].filter((stream) => stream.active);
    await Promise.all(
      active.map((stream) => stream.refresh(reason, true).catch((cause) => this.#failed(stream, cause))),
    );
    return active.length;
  }

  /** Carries out `schedule.*`; resolves with the result or rejects with a `CommandError`. */
  async handle({ action, parameters, target }: ReceivedCommand): Promise<JsonValue> {
    if (action === 'schedule.resync') return { schedulers_drained: await this.resync('command') };
    const owner = String(parameters.scheduler ?? target.scheduler ?? target.id ?? '');
    const found = [...this.#streams].find(([, stream]) => stream.owner === owner);
    if (found === undefined) {
      if (action === 'schedule.enable' || action === 'schedule.disable' || action === 'schedule.trigger_now') {
        return this.#plain(action, parameters);
      }
      throw new CommandError('not_found', `no scheduler ${owner} in this process`);
    }
    const [name, stream] = found;
    if (action === 'schedule.external.activate') return this.#activate(name, stream, parameters);
    if (action === 'schedule.external.mutate') return this.#mutate(stream, parameters);
    if (action === 'schedule.external.control') return this.#control(stream, parameters);
    return this.#plain(action, parameters, stream);
  }

  async #activate(engine: string, stream: ScheduleStream, parameters: JsonObject): Promise<JsonValue> {
    const known = (await this.#options.memory.load(stream.owner)).length > 0;
    try {
      const result = await stream.activate(readAuthority(parameters as PlainObject));
      this.#doubted.delete(stream.owner);
      return result;
    } catch (cause) {
      if (cause instanceof RefusedSnapshot) this.#refused(engine, stream, known);
      throw cause instanceof CommandError ? cause : new CommandError('failed', (cause as Error).message, { cause });
    }
  }

  /**
   * The brain holds schedules this process does not know. With a memory it may have been a passing fault: once more.
   * Without one nothing but another name helps, since no call of the brain removes them.
   */
  #refused(engine: string, stream: ScheduleStream, known: boolean): void {
    const { log, names, link, schedulerName } = this.#options;
    const { owner } = stream;
    if (known && !this.#doubted.has(owner)) {
      this.#doubted.add(owner);
      link.reconnect(`the snapshot of ${owner} was refused`);
      return;
    }
    const base = schedulerName(engine);
    const number = owner === base ? 1 : Number(owner.slice(owner.lastIndexOf('-') + 1));
    if (number >= MOST_NAMES) {
      log.once(
        `owner:${base}`,
        'error',
        `schedules of ${engine} are not shown: the brain refused them under ${number} names`,
      );
      return;
    }
    const suffix = `-${number + 1}`;
    const next = `${base.slice(0, 40 - suffix.length)}${suffix}`;
    names.set(`owner:${base}`, next);
    log.warn(
      `the brain holds schedules of ${owner} that this process does not know, and keeps them; publishing under ${next}. Keep Z4J_HOME on a volume so that it cannot happen again`,
    );
    this.watch([]);
    link.reconnect(`schedules go on under ${next}`);
  }

  #failed(stream: ScheduleStream, cause: unknown): void {
    const { log, link } = this.#options;
    log.debug(`schedules of ${stream.owner}: ${String(cause)}`);
    if (cause instanceof RefusedSnapshot) link.reconnect(`the snapshot of ${stream.owner} was refused`);
  }

  async #mutate(stream: ScheduleStream, parameters: JsonObject): Promise<JsonValue> {
    const { scheduler } = stream;
    const operation = text(parameters, 'operation');
    const given = parameters.definition;
    const definition = definitionOf((typeof given === 'object' && given !== null ? given : {}) as JsonObject);
    const request = {
      operationId: text(parameters, 'operation_id'),
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

  async #control(stream: ScheduleStream, parameters: JsonObject): Promise<JsonValue> {
    const { scheduler } = stream;
    const desired = parameters.desired_projection as unknown as ScheduleRow;
    const expected = text(parameters, 'expected_projection_digest');
    const request = {
      operationId: text(parameters, 'operation_id'),
      sourceKey: text(parameters, 'source_key'),
      authority: parameters as unknown as Authority,
      sequence: Number(parameters.expected_accepted_sequence) + 1,
    };
    return this.#published(stream, () =>
      stream.control(
        request,
        (row) => rowDigest(row) === expected || sameRow(row, desired, ['next_run_at']),
        (name) => scheduler.update(name, { enabled: desired.is_enabled }),
      ),
    );
  }

  /** A change whose snapshot the brain refused leaves the stream without a number: only a new epoch helps. */
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
  async #plain(action: string, parameters: JsonObject, only?: ScheduleStream): Promise<JsonValue> {
    const name = text(parameters, typeof parameters.schedule_name === 'string' ? 'schedule_name' : 'schedule_id');
    for (const stream of only === undefined ? this.#streams.values() : [only]) {
      const { scheduler } = stream;
      const known = (await scheduler.list()).some((schedule) => schedule.name === name);
      if (!known) continue;
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
