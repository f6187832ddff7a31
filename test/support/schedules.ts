import { randomUUID } from 'node:crypto';
import {
  CommandError,
  type Engine,
  type JsonValue,
  type Schedule,
  type ScheduleDefinition,
  type Scheduler,
} from '../../src/engine.js';
import type { BrainProject, Row } from './brain.js';
import { waitFor } from './net.js';

const MINUTE = 60_000;

/** An engine that has schedules and nothing else, all in memory. */
export class MemoryEngine implements Engine {
  readonly version = '1.0.0';
  readonly schedules = new Map<string, Schedule>();
  readonly runs: string[] = [];
  /** What `list()` rejects with, while it is set. */
  broken: Error | undefined;
  lists = 0;
  readonly #listeners = new Set<() => void>();
  readonly scheduler: Scheduler;

  constructor(readonly name = 'memory') {
    const find = (id: string): Schedule => {
      const found = this.schedules.get(id);
      if (found === undefined) throw new CommandError('not_found', `no schedule ${id}`);
      return found;
    };
    this.scheduler = {
      operations: ['create', 'update', 'delete', 'enable', 'disable', 'trigger_now'],
      list: async () => {
        this.lists += 1;
        if (this.broken !== undefined) throw this.broken;
        return [...this.schedules.values()];
      },
      create: async (definition) => {
        const { name = '' } = definition;
        if (this.schedules.has(name)) throw new CommandError('conflict', `there is a schedule ${name} already`);
        this.define(name, definition);
        return name;
      },
      update: async (id, definition) => {
        const { name = id } = definition;
        const before = find(id);
        this.schedules.delete(id);
        const { queue, ...rest } = definition;
        this.define(name, { ...before, ...rest, ...(queue == null ? {} : { queue }) });
      },
      delete: async (id) => {
        find(id);
        this.remove(id);
      },
      trigger: async (id): Promise<JsonValue> => {
        this.ran(find(id).name);
        return { runs: this.runs.length };
      },
      onChange: (listener) => {
        this.#listeners.add(listener);
        return () => this.#listeners.delete(listener);
      },
    };
  }

  /** Adds a schedule or changes it. */
  define(name: string, { queue, ...definition }: ScheduleDefinition | Partial<Schedule> = {}): void {
    const before = this.schedules.get(name);
    const made: Schedule = {
      taskName: 'report',
      kind: 'interval',
      expression: '60',
      enabled: true,
      totalRuns: 0,
      source: 'memory:code',
      ...before,
      ...definition,
      ...(queue == null ? {} : { queue }),
      name,
    };
    const every = Number(made.expression) * 1000;
    const next = Number.isNaN(every) ? MINUTE : every;
    this.schedules.set(name, { ...made, nextRunAt: made.enabled ? Math.trunc(Date.now() + next) : undefined });
    this.changed();
  }

  /** Changes a schedule without a word. */
  set(name: string, change: Partial<Schedule>): void {
    this.schedules.set(name, { ...(this.schedules.get(name) as Schedule), ...change });
  }

  remove(name: string): void {
    this.schedules.delete(name);
    this.changed();
  }

  /** A run of the schedule took place. */
  ran(name: string): void {
    const before = this.schedules.get(name) as Schedule;
    this.runs.push(name);
    this.schedules.set(name, { ...before, lastRunAt: Date.now(), totalRuns: before.totalRuns + 1 });
  }

  changed(): void {
    for (const listener of this.#listeners) listener();
  }

  actions(): readonly [] {
    return [];
  }

  inventory(): { queues: string[]; tasks: string[]; workers: string[] } {
    return { queues: [], tasks: [], workers: [] };
  }

  start(): void {}

  stop(): void {}
}

/** All rows; a page of the brain holds 50 of them unless it is asked for more. */
export async function schedulesOf({ rest, slug }: BrainProject): Promise<Row[]> {
  return (await rest.get(`/projects/${slug}/schedules?limit=500`)).items;
}

/** What an operator does to schedules that an agent owns, over REST. */
export function operator(project: BrainProject) {
  const base = `/projects/${project.slug}/schedules`;
  const row = async (name: string): Promise<Row | undefined> =>
    (await schedulesOf(project)).find((each) => each.name === name);
  /**
   * A brain takes one operation of an owner at a time, on the row as it is: waits until the one before is confirmed,
   * and looks again where a run or a new next time has changed the row.
   */
  const issue = async (path: string, body: () => object | Promise<object>): Promise<Row> => {
    for (const end = Date.now() + 30_000; ; await new Promise((resolve) => setTimeout(resolve, 100))) {
      try {
        return await project.rest.post(path, await body());
      } catch (error) {
        if (!/awaiting confirmation|changed since it was displayed/.test(String(error)) || Date.now() > end)
          throw error;
      }
    }
  };
  const self = {
    row,
    /** The row once it is as wanted; waits for it. */
    async until(name: string, wanted: (row: Row | undefined) => boolean, timeout = 20_000): Promise<Row> {
      let found: Row | undefined;
      const look = async (): Promise<boolean> => {
        found = await row(name);
        return wanted(found);
      };
      await waitFor(look, { timeout, interval: 150, what: () => `schedule ${name}: ${JSON.stringify(found)}` });
      return found as Row;
    },
    /** Names of all rows once they are these. */
    async names(wanted: readonly string[], timeout = 30_000): Promise<void> {
      let found: string[] = [];
      const look = async (): Promise<boolean> => {
        found = (await schedulesOf(project)).map(({ name }) => name).sort();
        return JSON.stringify(found) === JSON.stringify([...wanted].sort());
      };
      await waitFor(look, {
        timeout,
        interval: 150,
        what: () => `schedules ${wanted.join(', ')}: ${found.join(', ')}`,
      });
    },
    async press(name: string, action: 'enable' | 'disable' | 'trigger'): Promise<void> {
      const { id } = (await row(name)) as Row;
      await issue(`${base}/${id}/${action}`, () => ({}));
    },
    /** Resolves with the operation when it is no longer pending. */
    async native(
      operation: 'create' | 'update' | 'delete' | 'trigger',
      name: string | undefined,
      definition: object = {},
      timeout = 75_000,
    ): Promise<Row> {
      const issued = await issue(`${base}/native-operations`, async () => {
        const target = name === undefined ? undefined : ((await row(name)) as Row);
        const owner = target?.scheduler ?? ((await schedulesOf(project))[0] as Row).scheduler;
        return {
          request_id: randomUUID(),
          scheduler: owner,
          operation,
          definition,
          ...(target === undefined ? {} : { schedule_id: target.id, observed_control_token: target.control_token }),
        };
      });
      let found = issued;
      const look = async (): Promise<boolean> => {
        found = await project.rest.get(`${base}/native-operations/${issued.id ?? issued.operation_id}`);
        return found.status !== 'PENDING';
      };
      await waitFor(look, { timeout, interval: 150, what: () => `${operation} ${name}: ${JSON.stringify(found)}` });
      return found;
    },
  };
  return self;
}

/** Looks at the rows all the time: whether one was ever missing. */
export function watchRows(project: BrainProject, names: readonly string[]): { stop(): Promise<string[]> } {
  const missed: string[] = [];
  let stopped = false;
  const loop = (async () => {
    while (!stopped) {
      try {
        const rows = await schedulesOf(project);
        for (const name of names) {
          if (!rows.some((row) => row.name === name)) missed.push(`${new Date().toISOString()} ${name}`);
        }
      } catch {
        // The brain restarts.
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  })();
  return {
    async stop() {
      stopped = true;
      await loop;
      return missed;
    },
  };
}
