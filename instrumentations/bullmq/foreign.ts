/** What this instrumentation touches of BullMQ 3–6, and nothing more. Members that some version lacks are optional. */

export interface JobOptions {
  readonly attempts?: number;
  readonly backoff?: unknown;
  readonly debounce?: { readonly id?: string };
  readonly deduplication?: { readonly id?: string };
  readonly delay?: number;
  readonly jobId?: string;
  readonly lifo?: boolean;
  readonly parent?: { readonly id?: string; readonly queue?: string };
  readonly priority?: number;
  readonly repeat?: { readonly key?: string };
  readonly timestamp?: number;
}

export interface ForeignJob {
  readonly id?: string | undefined;
  readonly name: string;
  readonly data: unknown;
  readonly opts: JobOptions;
  readonly queue: ForeignQueueBase;
  readonly timestamp: number;
  readonly delay?: number;
  readonly priority?: number;
  readonly attemptsMade: number;
  /** From 5.0 on; its presence also tells how `attemptsMade` counts. */
  readonly attemptsStarted?: number;
  readonly finishedOn?: number;
  readonly processedOn?: number;
  readonly failedReason?: string;
  readonly parentKey?: string | undefined;
  readonly repeatJobKey?: string | undefined;
  getState(): Promise<string>;
  moveToDelayed(timestamp: number, token: unknown): Promise<unknown>;
  remove(options?: { removeChildren?: boolean }): Promise<void>;
  retry(state?: string): Promise<void>;
}

/** A Queue, Worker, QueueEvents, JobScheduler, or the queue-like object of a flow's node. */
export interface ForeignQueueBase {
  readonly name: string;
  readonly opts?: {
    readonly prefix?: string | undefined;
    readonly connection?: unknown;
    readonly [option: string]: unknown;
  };
  readonly closing?: unknown;
  readonly Job?: { fromId(queue: ForeignQueueBase, id: string): Promise<ForeignJob | undefined> };
}

export interface ForeignWorker extends ForeignQueueBase {
  readonly id: string;
  readonly running?: boolean;
  readonly paused?: unknown;
  readonly processFn?: (...args: unknown[]) => unknown;
  concurrency?: number;
  isPaused(): boolean;
  isRunning(): boolean;
}

export interface FlowNode {
  readonly job: ForeignJob;
  readonly children?: readonly FlowNode[];
}
