import { randomUUID } from 'node:crypto';
import type { Engine, JsonValue } from '../../../src/engine.js';
import { createLog } from '../../../src/log.js';
import { Redactor } from '../../../src/redactor.js';
import type { BatchAck } from '../../../src/schedules/epoch.js';
import type { TextStore } from '../../../src/schedules/memory.js';
import { Schedules, type SchedulesOptions } from '../../../src/schedules/schedules.js';
import { ScheduleStreams } from '../../../src/testing/schedule-streams.js';

export interface Sent {
  readonly kind: string;
  readonly engine: string;
  readonly data: { readonly [key: string]: unknown };
  readonly bytes: string;
}

export function memoryTexts(): TextStore & { readonly all: Map<string, string> } {
  const all = new Map<string, string>();
  return { all, get: (key) => all.get(key), set: (key, text) => void all.set(key, text) };
}

export const TIMES = { settleMs: 20, everyMs: 60, runsMs: 80, ackMs: 150, patienceMs: 800, repeatMs: 20, watchMs: 20 };

const redactor = new Redactor();

/** One process with schedules at a brain, without sockets between them. */
export function rig({
  engines,
  brain = new ScheduleStreams(),
  texts = memoryTexts(),
  version = '1.13.0',
  service = 'shop',
  ...options
}: Partial<SchedulesOptions> & {
  engines: readonly Engine[];
  brain?: ScheduleStreams;
  texts?: TextStore;
  version?: string;
  service?: string;
}) {
  const lines: string[] = [];
  const sent: Sent[] = [];
  const reconnects: string[] = [];
  const answers: { owner: string; result?: JsonValue; error?: Error }[] = [];
  let connection: object | undefined;
  /** Answers instead of the brain where it gives something. */
  let intercept: ((events: readonly Sent[]) => BatchAck | 'silence' | undefined) | undefined;

  const schedules = new Schedules({
    ...TIMES,
    texts,
    redact: (value) => redactor.redact(value),
    log: createLog({ level: 'warn', write: (line) => lines.push(line) }),
    schedulerName: (engine) => `${service}-${engine}`,
    ...options,
    link: {
      send: async (records, timeoutMs) => {
        const events = records.map((record) => ({ ...JSON.parse(String(record)), bytes: String(record) }) as Sent);
        sent.push(...events);
        const ack = intercept?.(events);
        const verdicts = ack === undefined ? events.map(({ bytes }) => brain.take(JSON.parse(bytes))) : [];
        if (ack === 'silence' || verdicts.includes('unacked')) {
          await new Promise((resolve) => setTimeout(resolve, timeoutMs));
          throw new Error(`no answer for ${timeoutMs} ms`);
        }
        const accepted = verdicts.filter((verdict) => verdict === 'accepted').length;
        return ack ?? { received: records.length, accepted, rejected: records.length - accepted };
      },
      reconnect: (reason) => {
        reconnects.push(reason);
        drop();
        setImmediate(connect);
      },
    },
  });

  const command = (action: string, parameters: object): Promise<JsonValue> =>
    schedules.handle({
      id: randomUUID(),
      action,
      target: {},
      parameters: parameters as { readonly [key: string]: JsonValue },
      timeoutSeconds: 60,
      issuedBy: null,
    });

  function drop(): void {
    if (connection !== undefined) brain.disconnected(connection);
    connection = undefined;
    schedules.disconnected();
  }

  function connect(): void {
    connection = {};
    schedules.watch(engines);
    const schedulers = schedules.isWanted ? engines.map((engine) => schedules.ownerOf(engine.name)) : [];
    const tokens = ['external_schedule_stable_snapshot_v1', 'external_schedule_mutation_v1'];
    const capabilities = Object.fromEntries(schedulers.map((owner) => [owner, tokens]));
    schedules.connected(version);
    const hello = { schedulers, capabilities, runtimeFeatures: ['external_schedule_protocol_v1'] };
    for (const parameters of brain.connected(connection, hello)) {
      const owner = String(parameters.scheduler);
      command('schedule.external.activate', parameters).then(
        (result) => answers.push({ owner, result }),
        (error: Error) => answers.push({ owner, error }),
      );
    }
  }

  return {
    brain,
    schedules,
    texts,
    lines,
    sent,
    reconnects,
    answers,
    command,
    connect,
    drop,
    set intercept(next: typeof intercept) {
      intercept = next;
    },
    /** Names of the rows in every snapshot that was sent, by order of sending; disabled ones in brackets. */
    get snapshots(): string[] {
      const found = new Map<unknown, { sequence: unknown; rows: string[] }>();
      for (const { data } of sent) {
        const frame = data.external_snapshot_frame as { [key: string]: unknown } | undefined;
        if (frame === undefined) continue;
        const rows = (frame.schedules as { name: string; is_enabled: boolean }[]).map(({ name, is_enabled }) =>
          is_enabled ? name : `(${name})`,
        );
        const before = found.get(frame.snapshot_id);
        found.set(frame.snapshot_id, { sequence: frame.sequence, rows: [...(before?.rows ?? []), ...rows] });
      }
      return [...found.values()].map(({ sequence, rows }) => `${String(sequence)}: ${rows.join(' ')}`);
    },
    /** What an operator's press comes to: undefined when a brain believes it, else why not. */
    async press(
      owner: string,
      operation: Parameters<ScheduleStreams['command']>[1],
      name: string | null,
      definition: object = {},
    ): Promise<string | undefined> {
      const { action, parameters } = brain.command(owner, operation, name, definition as { [key: string]: unknown });
      const outcome = await command(action, parameters).then(
        (result) => ({ status: 'success', result, error: null }),
        (error: Error) => ({ status: 'failed', result: null, error: error.message }),
      );
      return brain.doubt(parameters, outcome);
    },
    shown: (owner?: string): string[] => brain.rows(owner).map(({ name }) => name),
    /** As an agent that ends: it says so before its connection does. */
    close(): void {
      schedules.close();
      drop();
    },
  };
}
