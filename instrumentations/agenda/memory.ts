import type { SchedulesMemory } from '../../src/engine.js';
import type { ForeignAgenda } from './foreign.js';
import { quietly } from './quiet.js';
import type { Store } from './store.js';

const PREFIX = 'z4j:schedules:';

/** Documents of ours among the jobs: no agenda defines their names, and they are disabled. */
export const isOurs = (name: unknown): boolean => typeof name === 'string' && name.startsWith(PREFIX);

/** Keeps a text as the data of a job that never runs: the one thing that every version and backend can store. */
export function memoryIn(agenda: ForeignAgenda, store: Store, owner: string): SchedulesMemory {
  const name = `${PREFIX}${owner}`;
  return {
    load: () =>
      quietly(async () => {
        const text = ((await store.named(name))?.data as { text?: unknown } | undefined)?.text;
        return typeof text === 'string' ? text : undefined;
      }),
    save: (text) =>
      quietly(async () => {
        const known = await store.named(name);
        if (known !== undefined) {
          await store.write(known, { data: { text } });
          return;
        }
        const job = agenda.create(name, { text });
        Object.assign(job.attrs, { type: 'single', disabled: true, nextRunAt: null });
        await job.save();
      }),
  };
}
