import { CommandError, type SchedulesMemory } from '../engine.js';
import { normaliseRow, type ScheduleRow } from '../protocol/index.js';

/** Durable texts that the agents of a host share. */
export interface TextStore {
  get(key: string): string | undefined;
  set(key: string, text: string): void;
}

/** The rows a brain may hold of one owner; has to outlive the process (protocol.md §7.4). */
export interface ScheduleMemory {
  /** Empty when nothing is known. Rejects when the broker, which may know more, cannot be asked. */
  load(): Promise<readonly ScheduleRow[]>;
  /** Keeps what names the rows; does nothing while these are the same. */
  save(rows: readonly ScheduleRow[]): Promise<void>;
}

/** What a row needs to be shown once more before it goes; neither figures nor arguments. */
const KEPT = ['name', 'task_name', 'engine', 'kind', 'expression', 'timezone', 'queue', 'source'] as const;

function parse(text: string | undefined, owner: string): ScheduleRow[] {
  try {
    const rows: unknown = JSON.parse(text ?? '[]');
    return (rows as { readonly [key: string]: unknown }[]).map((row) => normaliseRow(row, owner));
  } catch {
    return [];
  }
}

/** A broker that keeps no texts is as none. */
function unsupported(cause: unknown): undefined {
  if (!(cause instanceof CommandError && cause.code === 'unsupported')) throw cause;
}

/** Remembers in the agent's folder and, where the engine offers it, in its broker, which may be there later. */
export function scheduleMemory(
  owner: string,
  home: TextStore,
  broker: () => SchedulesMemory | undefined = () => undefined,
): ScheduleMemory {
  const key = `schedules:${owner}`;
  let saved: string | undefined;
  return {
    async load() {
      const rows = [...parse(home.get(key), owner), ...parse(await broker()?.load().catch(unsupported), owner)];
      return [...new Map(rows.map((row) => [row.source_key, row])).values()];
    },
    async save(rows) {
      const keys = rows.map((row) => row.source_key).join('\n');
      if (keys === saved) return;
      const text = JSON.stringify(rows.map((row) => Object.fromEntries(KEPT.map((each) => [each, row[each]]))));
      home.set(key, text);
      await broker()?.save(text).catch(unsupported);
      saved = keys;
    },
  };
}
