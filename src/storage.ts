import type { CommandMemory, CommandResult } from './commands/router.js';
import type { Settings } from './config.js';
import type { Journal } from './journal/journal.js';
import { memoryJournal } from './journal/memory.js';
import type { Log } from './log.js';
import type { TextStore } from './schedules/memory.js';

/** What an agent keeps, on disk where it can. */
export interface Storage {
  readonly slot: number;
  readonly journal: Journal;
  readonly commands: CommandMemory;
  readonly texts: TextStore;
  close(): void;
}

export function memoryStorage({ bufferMaxBytes }: Settings): Storage {
  const results = new Map<string, 'running' | CommandResult>();
  const texts = new Map<string, string>();
  return {
    slot: 0,
    journal: memoryJournal({ maxBytes: bufferMaxBytes }),
    commands: {
      begin(key) {
        const known = results.get(key);
        if (known === undefined) results.set(key, 'running');
        return known ?? 'new';
      },
      finish: (key, result) => results.set(key, result),
    },
    texts: { get: (key) => texts.get(key), set: (key, text) => texts.set(key, text) },
    close() {},
  };
}

export async function openStorage(settings: Settings, _log: Log): Promise<Storage> {
  return memoryStorage(settings);
}
