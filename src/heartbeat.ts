import { loadavg } from 'node:os';
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import type { Engine, EngineHealth, JsonObject, WorkerDetails } from './engine.js';
import type { Journal } from './journal/journal.js';

/** Queues and workers the brain looks at in one heartbeat. */
const MAX_QUEUES = 1024;
const MAX_WORKERS = 200;
const MAX_ACTIVE = 50;

export interface HeartbeatSource {
  readonly engines: () => readonly Engine[];
  readonly journal: () => Journal;
  /** ISO time of the last acknowledged batch. */
  readonly lastFlushAt: () => string | null;
  readonly loss: () => JsonObject | null;
}

/** Figures of this process that stand under `stats` of each of its workers. */
class ProcessFigures {
  #delay: IntervalHistogram | undefined;

  /** Milliseconds and bytes, since the last call. */
  read(): JsonObject {
    const { heapUsed, rss } = process.memoryUsage();
    const delay = this.#delay;
    let delays: JsonObject = {};
    if (delay === undefined) {
      this.#delay = monitorEventLoopDelay({ resolution: 20 });
      this.#delay.enable();
    } else if (Number.isFinite(delay.mean)) {
      const ms = (nanoseconds: number): number => Math.round(nanoseconds / 1e4) / 100;
      delays = { event_loop_delay_p50_ms: ms(delay.percentile(50)), event_loop_delay_p99_ms: ms(delay.percentile(99)) };
      delay.reset();
    }
    return {
      pid: process.pid,
      loadavg: loadavg(),
      rusage: {},
      uptime: Math.round(process.uptime()),
      node: process.version,
      heap_used_bytes: heapUsed,
      rss_bytes: rss,
      ...delays,
    };
  }

  stop(): void {
    this.#delay?.disable();
    this.#delay = undefined;
  }
}

function workerDetails(figures: JsonObject, worker: WorkerDetails): JsonObject {
  return {
    stats: { ...figures, pool: { 'max-concurrency': worker.concurrency }, ...worker.stats },
    active: worker.active.slice(0, MAX_ACTIVE).map(({ id, name }) => ({ id, name })),
    active_queues: worker.queues.map((name) => ({ name })),
    registered: [...worker.registered],
    conf: { worker_concurrency: worker.concurrency },
  };
}

/** Builds the payload of heartbeats (protocol.md §5). */
export class Heartbeat {
  readonly #source: HeartbeatSource;
  readonly #figures = new ProcessFigures();

  constructor(source: HeartbeatSource) {
    this.#source = source;
  }

  async payload(signal: AbortSignal): Promise<JsonObject> {
    const figures = this.#figures.read();
    const health: { [key: string]: string } = {};
    await Promise.all(
      this.#source.engines().map(async (engine) => {
        // An engine without an answer in time is left out of this beat; the beat itself must not wait.
        const found: EngineHealth = (await engine.health?.(signal).catch(() => undefined)) ?? {};
        const depths = Object.entries(found.queueDepths ?? {}).slice(0, MAX_QUEUES);
        const workers = Object.entries(found.workers ?? {}).slice(0, MAX_WORKERS);
        if (depths.length > 0) health[`${engine.name}.queue_depths`] = JSON.stringify(Object.fromEntries(depths));
        if (workers.length > 0) {
          health[`${engine.name}.worker_details`] = JSON.stringify(
            Object.fromEntries(workers.map(([name, details]) => [name, workerDetails(figures, details)])),
          );
        }
      }),
    );
    const journal = this.#source.journal();
    return {
      buffer_size: Math.min(journal.size.records, 1e7),
      last_flush_at: this.#source.lastFlushAt(),
      dropped_events: Math.min(journal.losses.records, 1e7),
      adapter_health: health,
      telemetry_loss: this.#source.loss(),
    };
  }

  stop(): void {
    this.#figures.stop();
  }
}
