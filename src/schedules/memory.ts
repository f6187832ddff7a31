import type { ScheduleRow } from '../protocol/index.js';

/** The rows a brain may hold of an owner; has to outlive the process (protocol.md §7.4). */
export interface ScheduleMemory {
  /** Empty when nothing is known. */
  load(owner: string): Promise<readonly ScheduleRow[]>;
  save(owner: string, rows: readonly ScheduleRow[]): Promise<void>;
}

/** The durable key-value store of the agent's folder. */
export interface TextStore {
  get(key: string): string | undefined;
  set(key: string, text: string): void;
}

/** Remembers in the agent's folder, which siblings on a host share, and in the engine's broker where it offers that. */
export function scheduleMemory(home: TextStore, broker?: (owner: string) => BrokerMemory | undefined): ScheduleMemory {
  const parse = (text: string | undefined): readonly ScheduleRow[] => {
    try {
      const rows: unknown = JSON.parse(text ?? '[]');
      return Array.isArray(rows) ? (rows as ScheduleRow[]) : [];
    } catch {
      return [];
    }
  };
  const saved = new Map<string, string>();
  return {
    async load(owner) {
      const shared = await broker?.(owner)
        ?.load()
        .catch(() => undefined);
      const rows = [...parse(home.get(`schedules:${owner}`)), ...parse(shared)];
      return [...new Map(rows.map((row) => [row.source_key, row])).values()];
    },
    async save(owner, rows) {
      const text = JSON.stringify(rows);
      if (saved.get(owner) === text) return;
      saved.set(owner, text);
      home.set(`schedules:${owner}`, text);
      await broker?.(owner)
        ?.save(text)
        .catch(() => undefined);
    },
  };
}

/** A text kept in the broker of an engine: survives containers without a volume. */
export interface BrokerMemory {
  load(): Promise<string | undefined>;
  save(text: string): Promise<void>;
}
