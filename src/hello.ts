import type { Action, Engine } from './engine.js';
import type { HelloPayload } from './protocol/index.js';
import { AGENT_VERSION } from './version.js';

/** Names of the actions that are told to the brain under another token, or under none. */
const TOKENS: { readonly [A in Action]?: readonly string[] } = {
  retry_task: ['retry_task', 'retry_by_reference_v1'],
  bulk_retry: ['bulk_retry', 'retry_by_reference_v1'],
  'dlq.list': ['list_dead_letters'],
  reconcile_task: [],
};

const SCHEDULE_TOKENS = ['list', 'read', 'external_schedule_stable_snapshot_v1', 'external_schedule_mutation_v1'];

export interface HelloOptions {
  readonly engines: readonly Engine[];
  readonly schedulerName: (engine: string) => string;
  readonly workerId: string;
  readonly hostName: string;
  /** Default `task`. */
  readonly workerRole?: string;
  /** Whether schedules are mirrored over this connection. Default true. */
  readonly schedules?: boolean;
  /** Actions an operator may use; the others are not advertised. Default all. */
  readonly allowed?: (action: string) => boolean;
}

/** The payload of the `hello` frame (protocol.md §2): who we are and the capability map of engines and schedulers. */
export class HelloBuilder {
  readonly #startedAt = new Date(Date.now() - process.uptime() * 1000).toISOString();

  build({
    engines,
    schedulerName,
    workerId,
    hostName,
    workerRole = 'task',
    schedules = true,
    allowed = () => true,
  }: HelloOptions): HelloPayload {
    const capabilities: { [name: string]: readonly string[] } = {};
    const schedulers: string[] = [];
    for (const engine of engines) {
      const tokens = engine
        .actions()
        .filter(allowed)
        .flatMap((action) => TOKENS[action] ?? [action]);
      capabilities[engine.name] = [...new Set(tokens)];
      // A process that only produces would show an empty inventory in place of the workers' own.
      if (engine.scheduler === undefined || !schedules || engine.scheduler.serves?.() === false) continue;
      const name = schedulerName(engine.name);
      schedulers.push(name);
      // Without the token of native writes a brain would fall back on controls, which must not be refused.
      const operations = allowed('schedule.external.mutate') ? engine.scheduler.operations : [];
      capabilities[name] = [...SCHEDULE_TOKENS, ...operations];
    }
    return {
      protocol_version: '2',
      agent_version: AGENT_VERSION,
      framework: 'node',
      engines: engines.map((engine) => engine.name),
      schedulers,
      capabilities,
      host: { name: hostName },
      worker_id: workerId,
      worker_role: workerRole,
      worker_pid: process.pid,
      worker_started_at: this.#startedAt,
      runtime_features: ['retry_by_reference', ...(schedulers.length > 0 ? ['external_schedule_protocol_v1'] : [])],
    };
  }
}
