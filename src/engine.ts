/**
 * The ports between the instrumentations and the rest of the agent. An instrumentation knows this file and no other
 * part of `src`; the agent knows an engine only through it.
 */
export {
  type EnginePatch,
  type Hub,
  hub,
  isSupported,
  type PatchedModule,
  type Recorder,
  type TargetReport,
} from './hub.js';
export { asHost, isTraced, quietly } from './quiet.js';

export type JsonValue = string | number | boolean | null | readonly JsonValue[] | { readonly [key: string]: JsonValue };
export type JsonObject = { readonly [key: string]: JsonValue };

/** Event kinds a brain knows (protocol.md §4.3). */
export type EventKind =
  | 'task.sent'
  | 'task.received'
  | 'task.started'
  | 'task.succeeded'
  | 'task.failed'
  | 'task.retried'
  | 'task.revoked'
  | 'task.rejected'
  | 'worker.online'
  | 'worker.offline'
  | 'worker.heartbeat'
  | 'queue.depth_report'
  | 'schedule.run_started'
  | 'schedule.run_completed';

/**
 * What an event tells, under the names the brain reads. Values are the host's own, unredacted and possibly not JSON:
 * the dispatcher redacts and prints them once. A key with the value `undefined` is left out.
 */
export interface EventData {
  readonly task_name?: string | undefined;
  readonly queue?: string | undefined;
  readonly priority?: 'critical' | 'high' | 'normal' | 'low' | undefined;
  readonly args?: readonly unknown[] | undefined;
  readonly kwargs?: object | undefined;
  readonly result?: unknown;
  /** Milliseconds. */
  readonly runtime_ms?: number | undefined;
  /** `TypeError: x is not a function`, the text the brain groups issues by. */
  readonly exception?: string | undefined;
  readonly traceback?: string | undefined;
  readonly retry_count?: number | undefined;
  readonly parent_task_id?: string | undefined;
  readonly root_task_id?: string | undefined;
  readonly trace_id?: string | undefined;
  readonly span_id?: string | undefined;
  readonly reason?: string | undefined;
  readonly worker_name?: string | undefined;
  readonly [key: string]: unknown;
}

/** One observed fact about a task, worker or schedule. */
export interface TaskEvent {
  readonly kind: EventKind;
  /** Name of the engine as the brain knows it: `bullmq`, with a namespace `bullmq-analytics`. */
  readonly engine: string;
  /** At most 200 characters, no slash; empty for events that are not about a task. */
  readonly taskId: string;
  /** Milliseconds since the epoch, frozen at capture. */
  readonly occurredAt: number;
  readonly data: EventData;
  /**
   * Which of this process's workers it happened in: the queue it serves, or '' where the engine has one worker per
   * process. The dispatcher turns it into `data.worker`. Absent: no `worker` key (see `worker.offline`).
   */
  readonly workerOf?: string | undefined;
}

/** Actions an engine may carry out (protocol.md §2); the name is also the capability token unless noted. */
export type Action =
  | 'submit_task'
  | 'retry_task'
  | 'bulk_retry'
  | 'cancel_task'
  | 'requeue_dead_letter'
  /** Token `list_dead_letters`. */
  | 'dlq.list'
  | 'purge_queue'
  /** No token: every engine is asked. */
  | 'reconcile_task'
  | 'rate_limit'
  | 'pool_grow'
  | 'pool_shrink'
  | 'add_consumer'
  | 'cancel_consumer'
  | 'restart_worker';

/** A command of the brain, verified, its names checked, addressed to one engine. */
export interface Command {
  readonly id: string;
  readonly action: Action;
  /** As the brain sent them; only the fields of protocol.md §6 are meaningful. */
  readonly parameters: JsonObject;
  readonly target: { readonly type: string; readonly id: string | null };
  readonly issuedBy: string | null;
}

/** What the router gives an engine beside the command. */
export interface CommandContext {
  /** Aborted when the answer would come too late; broker calls under way may still take effect. */
  readonly signal: AbortSignal;
  /** Lets the host's event loop run between the steps of a long command. */
  yield(): Promise<void>;
  /** Checks a purge against token, threshold and force; throws `CommandError` when it must not happen. */
  allowPurge(queue: string, depth: number): void;
  /** Redacts and shortens a text from the engine (the tail of an error) to `bytes`. */
  excerpt(text: string, bytes: number): string;
}

/** A command that was not carried out: `message` is shown to the operator and says why and what to do. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly code: 'unsupported' | 'invalid' | 'refused' | 'not_found' | 'conflict' | 'indeterminate' | 'failed';
  /** Goes into the command's result beside the error text. */
  readonly result: JsonObject | null;
  constructor(
    code: CommandError['code'],
    message: string,
    options?: ErrorOptions & { result?: JsonObject | undefined },
  ) {
    super(message, options);
    this.code = code;
    this.result = options?.result ?? (code === 'indeterminate' ? { indeterminate: true } : null);
  }
}

/** Figures for one heartbeat. */
export interface EngineHealth {
  /** Jobs waiting for a worker, by queue. */
  readonly queueDepths?: { readonly [queue: string]: number };
  /** By worker name, the shape of protocol.md §5. */
  readonly workers?: { readonly [worker: string]: WorkerDetails };
}

export interface WorkerDetails {
  readonly concurrency: number;
  readonly queues: readonly string[];
  readonly active: readonly { readonly id: string; readonly name: string }[];
  readonly registered: readonly string[];
  /** Kept verbatim by the brain under `stats`. */
  readonly stats?: JsonObject;
}

/** What an engine is known by in this process; resolves names that carry no engine. */
export interface Inventory {
  readonly queues: readonly string[];
  readonly tasks: readonly string[];
  /** Worker names as they stand in events. */
  readonly workers: readonly string[];
}

/** What the agent gives an engine when it starts it. */
export interface EngineHost {
  /** The name under which events of the worker of `queue` go out. */
  workerName(queue: string): string;
  record(event: TaskEvent): void;
  /** The engine has new queues, workers or abilities: the brain is told with a new hello. */
  inventoryChanged(): void;
  /** One line per cause. */
  warn(cause: string, message: string): void;
  readonly slot: number;
}

/** A library that runs tasks, as the brain names it; also the object that adapts it. */
export interface Engine {
  /** ≤ 40 characters of letters, digits, `_` and `-`. */
  readonly name: string;
  /** Version of the loaded library, for debug output and heartbeat. */
  readonly version: string | undefined;
  /** What works on the loaded version. */
  actions(): readonly Action[];
  inventory(): Inventory;
  /** Called once, when the agent knows who it is. */
  start(host: EngineHost): void;
  /** Called before goodbye: `worker.offline` of every live worker is recorded here. */
  stop(): void;
  /**
   * Carries a command out and resolves with its result; rejects with `CommandError`. Missing: nothing can be done.
   */
  execute?(command: Command, context: CommandContext): Promise<JsonValue>;
  /** Missing: no figures. Must not reject because a broker is away: figures that cannot be had are left out. */
  health?(signal: AbortSignal): Promise<EngineHealth>;
  /** Missing: the engine has no schedules. */
  readonly scheduler?: Scheduler;
}

/** One schedule as the engine knows it; the row of protocol.md §7.3 is made of it. */
export interface Schedule {
  /** Stable and unique within the engine; also `source_key`. ≤ 200 characters. */
  readonly name: string;
  readonly taskName: string;
  readonly kind: 'cron' | 'interval' | 'clocked';
  /** Cron text verbatim, seconds as text, or an ISO time. */
  readonly expression: string;
  readonly timezone?: string | undefined;
  readonly queue?: string | undefined;
  readonly priority?: 'critical' | 'high' | 'normal' | 'low' | undefined;
  readonly args?: readonly unknown[] | undefined;
  readonly kwargs?: object | undefined;
  readonly enabled: boolean;
  /** Milliseconds since the epoch. */
  readonly lastRunAt?: number | undefined;
  readonly nextRunAt?: number | undefined;
  readonly totalRuns: number;
  /** ≤ 64 characters, e.g. `node-cron:code`. */
  readonly source: string;
}

/** The part of a schedule an operator may set; absent keys stay as they are. */
export interface ScheduleDefinition {
  readonly name?: string;
  readonly taskName?: string;
  readonly kind?: 'cron' | 'interval' | 'clocked';
  readonly expression?: string;
  readonly timezone?: string;
  readonly queue?: string | null;
  readonly args?: readonly JsonValue[];
  readonly kwargs?: JsonObject;
  readonly enabled?: boolean;
}

/** What an operator wants of a schedule that code defines anew at every start. */
export interface ScheduleOverride {
  readonly enabled?: boolean;
  readonly expression?: string;
  readonly timezone?: string;
  readonly args?: readonly JsonValue[];
  readonly kwargs?: JsonObject;
  readonly deleted?: boolean;
}

export type ScheduleOperation = 'create' | 'update' | 'delete' | 'enable' | 'disable' | 'trigger_now';

/** A text that the broker of an engine keeps: it outlives containers without a volume. */
export interface SchedulesMemory {
  /** Undefined when nothing was saved. Rejects when the broker is away. */
  load(): Promise<string | undefined>;
  save(text: string): Promise<void>;
}

/** The schedules of an engine. Every method rejects with `CommandError` when it did nothing. */
export interface Scheduler {
  readonly operations: readonly ScheduleOperation[];
  /** All of them, or a rejection: never a part. */
  list(): Promise<readonly Schedule[]>;
  /**
   * Whether this process runs what the schedules start, and so may speak for them; while it does not, nothing is
   * published, and what a worker on its way out takes with it stays for a while. Missing: always.
   */
  serves?(): boolean;
  /** Resolves with the name of the new schedule. */
  create(definition: ScheduleDefinition): Promise<string>;
  update(name: string, definition: ScheduleDefinition): Promise<void>;
  delete(name: string): Promise<void>;
  /** Starts one run outside the plan; resolves with what is known of it. */
  trigger(name: string): Promise<JsonValue>;
  /** Called after anything in `list()` may have changed. Returns the unsubscription. */
  onChange(listener: () => void): () => void;
  /**
   * `override` is asked whenever code defines a schedule, and at once for those that are defined; what it returns is
   * in force before the defining call returns. One at a time. `isStored`: the schedule is as the engine keeps it, which
   * need not be what code says; who asks puts the answer in force. Missing: code defines no schedules here.
   */
  onDefined?(override: (schedule: Schedule, isStored?: boolean) => ScheduleOverride | undefined): () => void;
  /** Puts an override in force on a schedule that is known. */
  applyOverride?(name: string, override: ScheduleOverride): Promise<void>;
  /** Where the list of what was shown under `owner` can be kept in the broker. Missing: the engine has no broker. */
  memory?(owner: string): SchedulesMemory | undefined;
}
