import { CommandError, type Engine, type JsonObject, type JsonValue, type Scheduler } from '../engine.js';
import type { Log } from '../log.js';
import { type Authority, canonical, configuration, RUN_KEYS, type ScheduleRow, sameRow } from '../protocol/index.js';
import { Epoch, outdated, type ScheduleLink, sameRows, scheduleEvent } from './epoch.js';
import type { ScheduleMemory } from './memory.js';
import { type Inventory, inventories, type Redact } from './rows.js';

export interface StreamTimes {
  /** A schedule is listed when nothing was defined for so long, in milliseconds. Default 2000. */
  readonly settleMs?: number;
  /** Least time between two snapshots, in milliseconds. Default 2000. */
  readonly everyMs?: number;
  /** Least time between two snapshots that tell of runs only, in milliseconds. Default 10 000. */
  readonly runsMs?: number;
  /** Without an ack for so long an epoch is given up, in milliseconds. Default 30 000. */
  readonly ackMs?: number;
  /** How long a row stays that a worker on its way out no longer lists, in milliseconds. Default 30 000. */
  readonly goneMs?: number;
  /** How long an activation waits for a list that cannot be had, in milliseconds. Default 40 000. */
  readonly patienceMs?: number;
}

export interface StreamOptions extends StreamTimes {
  readonly owner: string;
  readonly engine: Pick<Engine, 'name'>;
  readonly scheduler: Scheduler;
  readonly link: ScheduleLink;
  readonly memory: ScheduleMemory;
  readonly redact: Redact;
  readonly log: Log;
}

/** A process that never stops defining schedules is not waited for. */
const LONGEST_SETTLE = 10;
/** Between the time a run is due and the look at what became of it. */
const AFTER_RUN_MS = 2000;
/** Telling of runs may take this share of a brain's time. */
const RUNS_SHARE = 20;
const LONGEST_PACE_MS = 60_000;
const LONGEST_WAIT_MS = 3_600_000;

const pause = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, milliseconds).unref();
  });

export type Addressed = Pick<Authority, 'stream_id' | 'epoch_uuid' | 'adapter_instance_id'>;

export interface MutationRequest {
  readonly operationId: string;
  readonly operation: string;
  readonly sourceKey: string | null;
  /** The row as the operator saw it; null for a new one. */
  readonly expected: object | null;
  readonly authority: Addressed;
}

export interface ControlRequest {
  readonly operationId: string;
  readonly sourceKey: string;
  readonly authority: Addressed;
  readonly expectedSequence: number;
}

/**
 * The schedules of one engine as one owner's stream (protocol.md §7): complete snapshots while the brain has given
 * this connection the authority, or plain ones to a brain that knows no other; nothing otherwise.
 */
export class ScheduleStream {
  readonly owner: string;
  readonly #options: StreamOptions;
  readonly #inventory: ReturnType<typeof inventories>;
  readonly #unsubscribe: () => void;
  readonly #born = Date.now();
  #changedAt = Date.now();
  #epoch: Epoch | undefined;
  #remembers = false;
  /** Rows told to a brain that knows no epochs. */
  #plain: readonly ScheduleRow[] | undefined;
  /** Rows that are no longer listed, and since when. */
  #leaving: ReadonlyMap<string, number> = new Map();
  #queue: Promise<unknown> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #firesAt = Infinity;
  #lookedAt = 0;
  /** Looks in a row that found nothing new. */
  #quietLooks = 0;

  constructor(options: StreamOptions) {
    this.#options = options;
    this.owner = options.owner;
    this.#inventory = inventories(options.engine.name, options.owner, options.redact);
    this.#unsubscribe = options.scheduler.onChange(() => {
      this.#changedAt = Date.now();
      this.#quietLooks = 0;
      if (this.active) this.#lookAt(this.#earliest());
    });
  }

  get scheduler(): Scheduler {
    return this.#options.scheduler;
  }

  get active(): boolean {
    return this.#plain !== undefined || this.#epoch?.isOpen === true;
  }

  /** Whether there was a memory of earlier rows at the last activation. */
  get remembers(): boolean {
    return this.#remembers;
  }

  /** The connection is gone, and the authority with it. */
  deactivate(): void {
    this.#epoch?.close();
    this.#epoch = undefined;
    this.#plain = undefined;
    clearTimeout(this.#timer);
    this.#firesAt = Infinity;
  }

  close(): void {
    this.deactivate();
    this.#unsubscribe();
  }

  /** Answers `schedule.external.activate`: the first snapshot holds every row the brain may still have. */
  activate(authority: Authority): Promise<JsonObject> {
    this.deactivate();
    const { link, memory, ackMs = 30_000 } = this.#options;
    const epoch = new Epoch({ authority, link, memory, ackMs });
    this.#epoch = epoch;
    return this.#exclusive(async () => {
      try {
        await this.#settled();
        const { rows, remembered } = await this.#patiently(epoch, async () => ({
          rows: (await this.#list()).rows,
          remembered: await memory.load(),
        }));
        this.#remembers = remembered.length > 0;
        const names = new Set(rows.flatMap((row) => [row.source_key, row.name]));
        const gone = remembered
          .filter((row) => !names.has(row.source_key) && !names.has(row.name))
          .map((row) => ({ ...row, is_enabled: false }));
        const told = await epoch.publish([...rows, ...gone], 'activation');
        if (gone.length > 0) await epoch.publish(rows, 'activation');
        this.#plan(rows);
        return told;
      } catch (cause) {
        epoch.close();
        throw cause;
      }
    });
  }

  /** One line when whoever publishes this owner does not know schedules of this process. */
  async tellHidden(): Promise<void> {
    const { memory, log, engine } = this.#options;
    const { rows } = await this.#list();
    const shown = new Set((await memory.load()).map((row) => row.source_key));
    const [first, ...others] = rows.filter((row) => !shown.has(row.source_key));
    if (shown.size === 0 || first === undefined) return;
    const more = others.length === 0 ? '' : ` and ${others.length} more`;
    log.once(
      `hidden:${this.owner}`,
      'warn',
      `schedule ${first.name}${more} of ${engine.name} are not shown: another process shows its own under ${this.owner}; processes with different schedules need a Z4J_SERVICE_NAME each`,
    );
  }

  /** From now on this connection is told of every schedule without numbers, as brains before 1.8 want it. */
  async tellPlainly(): Promise<void> {
    this.deactivate();
    this.#plain = [];
    await this.#settled();
    await this.refresh('boot', true);
  }

  /** Publishes now if anything changed, or in any case when `always`. Rejects when the list cannot be had. */
  refresh(reason: string, always = false): Promise<void> {
    return this.#exclusive(async () => {
      if (!this.active) return;
      const epoch = this.#epoch;
      const { rows } = await this.#list();
      const told = epoch?.rows ?? this.#plain ?? [];
      const isNew = !sameRows(told, rows);
      this.#quietLooks = isNew ? 0 : this.#quietLooks + 1;
      try {
        if (!isNew && !always) return;
        if (epoch === undefined) await this.#publishPlainly(rows, reason);
        else await epoch.publish(rows, reason);
      } finally {
        if (this.active) this.#plan(rows);
      }
    });
  }

  /**
   * Changes the engine by `apply`, which resolves with the engine's name of the schedule afterwards (undefined: it is
   * gone), and publishes what came of it.
   */
  mutate(
    { operationId, operation, sourceKey, expected, authority }: MutationRequest,
    apply: (name: string) => Promise<{ name: string | undefined; result: JsonValue }>,
  ): Promise<JsonValue> {
    return this.#exclusive(async () => {
      const epoch = this.#check(authority);
      const before = await this.#list();
      const row = before.rows.find((each) => each.source_key === sourceKey);
      if (expected !== null && (row === undefined || !sameRow(row, expected, RUN_KEYS))) {
        throw new CommandError('conflict', 'the schedule changed since it was shown; look at it again');
      }
      const { name, result } = await apply(before.names.get(row?.source_key ?? '') ?? '');
      const { rows, names } = await this.#list(sourceKey);
      const told = await epoch.publish(rows, `native-mutation:${operationId}`);
      this.#plan(rows);
      const after = name === undefined ? undefined : rows.find((each) => names.get(each.source_key) === name);
      if (name !== undefined && after === undefined) {
        throw new CommandError('failed', `it was done, but the engine no longer lists ${name}`);
      }
      return {
        ...told,
        operation_id: operationId,
        source_key: after?.source_key ?? sourceKey,
        observed_configuration: after === undefined ? null : (configuration(after) as unknown as JsonValue),
        ...(operation === 'trigger' && { trigger_result: { status: 'success', result, error: null } }),
      };
    });
  }

  /**
   * Answers `schedule.external.control`: enables or disables by `apply` and publishes the one row. `matches` is asked
   * for the row as the brain knows it and as it is now.
   */
  control(
    { operationId, sourceKey, authority, expectedSequence }: ControlRequest,
    matches: (row: ScheduleRow) => boolean,
    apply: (name: string) => Promise<void>,
  ): Promise<JsonValue> {
    return this.#exclusive(async () => {
      const epoch = this.#check(authority);
      const { rows, names } = await this.#list();
      const bySource = (row: ScheduleRow): boolean => row.source_key === sourceKey;
      const current = rows.find(bySource);
      const known = [epoch.rows.find(bySource), current].some((row) => row !== undefined && matches(row));
      // A snapshot that is numbered as the control would be cannot be taken back.
      if (current === undefined || !known || epoch.sequence !== expectedSequence) {
        throw new CommandError('conflict', 'the schedule changed since it was shown; look at it again');
      }
      await apply(names.get(sourceKey) as string);
      const after = (await this.#list()).rows.find(bySource) ?? current;
      const sequence = await epoch.publishControl(operationId, after);
      this.#lookAt(this.#earliest());
      return { operation_id: operationId, sequence, projection_buffered: true, deduplicated: false };
    });
  }

  #check(theirs: Addressed): Epoch {
    const epoch = this.#epoch;
    if (epoch === undefined) throw outdated();
    epoch.check();
    const { stream_id, epoch_uuid, adapter_instance_id } = epoch.authority;
    if (
      stream_id !== theirs.stream_id ||
      epoch_uuid !== theirs.epoch_uuid ||
      adapter_instance_id !== theirs.adapter_instance_id
    ) {
      throw outdated();
    }
    return epoch;
  }

  /** A library that still defines its schedules has to come to an end first: rows may be added later, never missed. */
  async #settled(): Promise<void> {
    const { settleMs = 2000 } = this.#options;
    while (Date.now() - Math.max(this.#changedAt, this.#born) < settleMs) {
      if (Date.now() - this.#born > settleMs * LONGEST_SETTLE) return;
      await pause(settleMs / 10);
    }
  }

  /** A broker that is not connected yet answers later; a part of the truth would delete rows. */
  async #patiently<T>(epoch: Epoch, read: () => Promise<T>): Promise<T> {
    const { patienceMs = 40_000 } = this.#options;
    for (const start = Date.now(); ; await pause(patienceMs / 40)) {
      epoch.check();
      try {
        return await read();
      } catch (cause) {
        if (cause instanceof CommandError && cause.code === 'unsupported') throw cause;
        if (Date.now() - start < patienceMs) continue;
        throw new CommandError('failed', `the schedules cannot be listed: ${String(cause)}`, { cause });
      }
    }
  }

  /** `changed`, a `source_key`, is what an operator changed: it may go at once. */
  async #list(changed: string | null = null): Promise<Inventory> {
    const { scheduler, engine, log } = this.#options;
    const inventory = this.#inventory(await scheduler.list());
    this.#lookedAt = Date.now();
    if (scheduler.serves?.() === false) {
      throw new CommandError('conflict', `this process no longer runs what the schedules of ${engine.name} start`);
    }
    const [first, ...others] = inventory.refused;
    if (first !== undefined) {
      const more = others.length === 0 ? '' : ` (nor are ${others.length} others)`;
      log.once(
        `schedules:${this.owner}`,
        'warn',
        `schedule ${first.name} of ${engine.name} is not shown: ${first.reason}${more}`,
      );
    }
    return scheduler.serves === undefined ? inventory : this.#withLeaving(inventory, changed);
  }

  /** Workers close one after the other: what is gone for good is gone a little later, too. */
  #withLeaving({ rows, ...rest }: Inventory, changed: string | null): Inventory {
    const { goneMs = 30_000 } = this.#options;
    const now = Date.now();
    const missing = (this.#epoch?.rows ?? []).filter(
      ({ source_key }) => !rest.names.has(source_key) && source_key !== changed,
    );
    const leaving = new Map(missing.map((row) => [row.source_key, this.#leaving.get(row.source_key) ?? now]));
    this.#leaving = leaving;
    const kept = missing.filter(({ source_key }) => now - (leaving.get(source_key) ?? 0) < goneMs);
    if (kept.length > 0) this.#lookAt(Math.min(...kept.map((row) => (leaving.get(row.source_key) ?? now) + goneMs)));
    return { rows: [...rows, ...kept], ...rest };
  }

  async #publishPlainly(rows: readonly ScheduleRow[], reason: string): Promise<void> {
    const { link, engine, ackMs = 30_000 } = this.#options;
    const data = canonical({ scheduler: this.owner, schedules: rows, reason });
    await link.send([scheduleEvent('schedule.snapshot', engine.name, data)], ackMs);
    if (this.#plain !== undefined) this.#plain = rows;
  }

  /** One after another: a snapshot is never built while another is on its way. */
  #exclusive<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(run, run);
    this.#queue = result.catch(() => undefined);
    return result;
  }

  /** When the next snapshot may go out at the earliest. */
  #earliest(): number {
    const { everyMs = 2000 } = this.#options;
    const { publishedAt = 0, tookMs = 0 } = this.#epoch ?? {};
    return Math.max(Date.now() + everyMs / 10, publishedAt + Math.max(everyMs, 2 * tookMs));
  }

  /** Next runs move by themselves: looks again after the next one, at a pace that neither side feels. */
  #plan(rows: readonly ScheduleRow[]): void {
    const { runsMs = 10_000 } = this.#options;
    const cost = (this.#epoch?.tookMs ?? 0) * RUNS_SHARE;
    const pace =
      Math.min(Math.max(cost, runsMs), Math.max(LONGEST_PACE_MS, runsMs)) * 2 ** Math.min(this.#quietLooks, 5);
    let due: string | undefined;
    for (const { is_enabled, next_run_at } of rows) {
      if (is_enabled && next_run_at !== null && (due === undefined || next_run_at < due)) due = next_run_at;
    }
    if (due !== undefined) this.#lookAt(Math.max(Date.parse(due) + AFTER_RUN_MS, this.#lookedAt + pace));
  }

  #lookAt(at: number): void {
    if (at >= this.#firesAt) return;
    clearTimeout(this.#timer);
    this.#firesAt = at;
    this.#timer = setTimeout(
      () => {
        this.#firesAt = Infinity;
        this.refresh('change').catch((cause: unknown) => {
          this.#options.log.debug(`schedules of ${this.owner}: ${String(cause)}`);
          if (this.active) this.#lookAt(Date.now() + LONGEST_PACE_MS);
        });
      },
      Math.min(at - Date.now(), LONGEST_WAIT_MS),
    );
    this.#timer.unref();
  }
}
