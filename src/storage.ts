import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { CommandResult } from './commands/router.js';
import type { Settings } from './config.js';
import type { JsonValue } from './engine.js';
import { agentFolder } from './identity.js';
import { adoptSlots } from './journal/adopt.js';
import { privateFolder, readSmallFile, replaceFile } from './journal/disk.js';
import { openJournal } from './journal/durable.js';
import { JournalError } from './journal/errors.js';
import type { Journal, RecordMeta } from './journal/journal.js';
import { memoryJournal } from './journal/memory.js';
import { hasUnsent, openResults, type Results } from './journal/results.js';
import { claimSlot, agentFolder as homeFolder, listSlots, type Slot, sendToSlot } from './journal/slots.js';
import type { Log } from './log.js';
import type { TextStore } from './schedules/memory.js';

/** What an agent keeps, on disk where it can. */
export interface Storage {
  readonly slot: number;
  readonly journal: Journal;
  readonly results: Results<CommandResult>;
  /** Shared by the agents of a host that have the same folder. */
  readonly texts: TextStore;
  /** Takes the messages of siblings. */
  onMessage: ((message: JsonValue) => Promise<JsonValue>) | undefined;
  /** Another machine took the slot while this process stood still: open another one. */
  onLost: (() => void) | undefined;
  /** Slots of this host's siblings, lowest first. */
  siblings(): readonly number[];
  /** Rejects when nobody answers there. */
  send(slot: number, message: JsonValue, timeoutMs: number): Promise<JsonValue>;
  /**
   * Takes over what siblings left that are dead for `graceMs` (default 30 000): their events go into our journal, their
   * results are handed to `take`. Never rejects.
   */
  adopt(take: (results: Results<CommandResult>) => void, graceMs?: number): Promise<void>;
  /** Resolves when the folder may be taken by the next. */
  close(): void;
}

const MAX_TEXT = 4 << 20;

/** One file a key, read anew each time: a sibling may have written it. */
function folderTexts(dir: string, log: Log): TextStore {
  const path = (key: string): string => join(dir, `${encodeURIComponent(key)}.json`);
  return {
    get: (key) => readSmallFile(path(key), MAX_TEXT)?.toString(),
    set(key, text) {
      try {
        privateFolder(dir);
        replaceFile(path(key), text);
        log.over('texts');
      } catch (cause) {
        log.once('texts', 'warn', `${key} cannot be kept in ${dir}: ${(cause as Error).message}`);
      }
    },
  };
}

/** Texts that the agents of a host share; needs no slot. */
export function sharedTexts(settings: Settings, log: Log): TextStore {
  return folderTexts(join(homeFolder(settings.home, agentFolder(settings)), 'shared'), log);
}

function memoryTexts(): TextStore {
  const texts = new Map<string, string>();
  return { get: (key) => texts.get(key), set: (key, text) => void texts.set(key, text) };
}

/**
 * Appends what `from` still holds to `to`, without parsing it; identical events are one to a brain. Stops when `to` is
 * closed: what it did not take stays in `from`.
 */
export async function drain(from: Journal, to: Journal): Promise<void> {
  for (let batch = from.read(from.confirmed, DRAIN); batch !== undefined; batch = from.read(batch.end, DRAIN)) {
    const start = to.end;
    batch.records.forEach((record, i) => {
      to.append(record.toString(), batch.metas[i] as RecordMeta);
    });
    to.flush();
    if (to.end - start < batch.records.length) return;
    from.confirm(batch.end);
    await nextTurn();
  }
}

const DRAIN = { records: 500, bytes: 256 * 1024 };

/** Keeps everything in memory: before the home is open, and where it cannot be. */
export function memoryStorage({
  bufferMaxBytes,
  thread,
}: Pick<Settings, 'bufferMaxBytes'> & Partial<Pick<Settings, 'thread'>>): Storage {
  const maxBytes = Math.min(bufferMaxBytes, MEMORY_BYTES);
  return {
    slot: 0,
    journal: thread ? openJournal({ dir: null, maxBytes, eagerWrites: EAGER_WRITES }) : memoryJournal({ maxBytes }),
    results: memoryResults(),
    texts: memoryTexts(),
    onMessage: undefined,
    onLost: undefined,
    siblings: () => [],
    send: async () => null,
    adopt: async () => {},
    close() {},
  };
}

/** A host has other uses for its memory than a disk has for its space. */
const MEMORY_BYTES = 64 << 20;
/** Per second, where another thread reads what this one is about to block on; a host with more events has short turns. */
const EAGER_WRITES = 200;

/** Commands remembered without a disk: a brain repeats one within a minute. */
const MEMORY_COMMANDS = 1000;

function memoryResults(): Results<CommandResult> {
  const known = new Map<string, 'running' | CommandResult>();
  return {
    begin(key) {
      const before = known.get(key);
      if (before === undefined) known.set(key, 'running');
      return before ?? 'new';
    },
    finish(key, result) {
      known.set(key, result);
      if (known.size <= MEMORY_COMMANDS) return;
      for (const [oldest, what] of known) {
        if (what === 'running') continue;
        known.delete(oldest);
        break;
      }
    },
    unsent: () => [],
    interrupted: () => [],
    sent() {},
    close() {},
  };
}

/** Claims a slot under the home and opens what it holds; a home that cannot be used is one warning, then memory. */
export async function openStorage(settings: Settings, log: Log): Promise<Storage> {
  const { home, bufferMaxBytes: maxBytes, bufferMaxAgeSeconds, fsync } = settings;
  const agent = agentFolder(settings);
  let slot: Slot | undefined;
  try {
    slot = await claimSlot(home, agent);
    const journal = openJournal({
      dir: slot.dir,
      maxBytes,
      maxAgeMs: bufferMaxAgeSeconds * 1000,
      fsync,
      ...(settings.thread ? { eagerWrites: EAGER_WRITES } : {}),
      onProblem: ({ state, cause, path, message }) => {
        if (state === 'recovered') log.info(`${path}: ${message}`);
        else log.warn(`${path}: ${message} (${cause})`);
      },
    });
    return new SlotStorage({ home, agent, slot, journal, maxBytes, log });
  } catch (cause) {
    slot?.release();
    const { path, reason } = cause instanceof JournalError ? cause : { path: home, reason: (cause as Error).message };
    log.warn(
      `${path} cannot be used (${reason}): events are kept in memory and end with this process; set Z4J_HOME to a folder that can be written`,
    );
    return memoryStorage(settings);
  }
}

interface SlotStorageParts {
  readonly home: string;
  readonly agent: string;
  readonly slot: Slot;
  readonly journal: Journal;
  readonly maxBytes: number;
  readonly log: Log;
}

class SlotStorage implements Storage {
  readonly slot: number;
  readonly journal: Journal;
  readonly results: Results<CommandResult>;
  readonly texts: TextStore;
  readonly #parts: SlotStorageParts;
  #adopting = false;

  constructor(parts: SlotStorageParts) {
    const { home, agent, slot, journal, log } = parts;
    this.#parts = parts;
    this.slot = slot.number;
    this.journal = journal;
    this.results = openResults(slot.dir, {
      onProblem: (error) => log.warn(`${slot.dir}: results of commands are kept in memory: ${String(error)}`),
    });
    this.texts = folderTexts(join(homeFolder(home, agent), 'shared'), log);
  }

  set onMessage(handler: ((message: JsonValue) => Promise<JsonValue>) | undefined) {
    this.#parts.slot.onMessage = handler;
  }

  set onLost(handler: (() => void) | undefined) {
    this.#parts.slot.onLost = handler;
  }

  siblings(): readonly number[] {
    const { home, agent, slot } = this.#parts;
    return listSlots(home, agent).filter((number) => number !== slot.number);
  }

  send(slot: number, message: JsonValue, timeoutMs: number): Promise<JsonValue> {
    const { home, agent } = this.#parts;
    return sendToSlot(home, agent, slot, message, { timeoutMs });
  }

  async adopt(take: (results: Results<CommandResult>) => void, graceMs?: number): Promise<void> {
    if (this.#adopting) return;
    this.#adopting = true;
    const { home, agent, slot, maxBytes, log } = this.#parts;
    try {
      for (const found of await adoptSlots(home, agent, slot, { maxBytes, graceMs, isWorthwhile: hasUnsent })) {
        await drain(found.journal, this.journal);
        const results = openResults<CommandResult>(found.dir);
        take(results);
        results.close();
        found.finish();
      }
    } catch (cause) {
      log.debug(`what dead siblings left could not be taken over: ${String(cause)}`);
    } finally {
      this.#adopting = false;
    }
  }

  close(): void {
    this.journal.close();
    this.results.close();
    this.#parts.slot.release();
  }
}
