import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { removeFile } from './disk.js';
import { openJournal } from './durable.js';
import type { Journal } from './journal.js';
import type { JournalOptions } from './options.js';
import { readOwner } from './owner.js';
import { listSegments } from './segments.js';
import { listSlots, type Slot, type SlotOptions, slotFolder, tryClaim } from './slots.js';

/** The folder of a slot whose owner is gone, now ours alone. */
export interface Adopted {
  readonly dir: string;
  readonly journal: Journal;
  /** Removes the folder when its journal is drained, and closes the journal in any case. */
  finish(): void;
}

export interface AdoptOptions extends SlotOptions, Pick<JournalOptions, 'maxBytes' | 'onProblem'> {
  /** A slot is left alone for so long after its owner died: a supervisor may restart that. Default 30 s. */
  readonly graceMs?: number | undefined;
  /** Whether a folder without events still has something to send. Default: none has. */
  readonly isWorthwhile?: ((dir: string) => boolean) | undefined;
}

const NAME = /^adopted-/;

/**
 * Takes over what dead owners of the same agent left, each folder exactly once, oldest events first. An adopted folder
 * moves into the own slot's: it is found again when this process dies too, and the number it had is free. The caller
 * drains the journals and calls `finish`. Never rejects because of one folder.
 */
export async function adoptSlots(home: string, agent: string, own: Slot, options: AdoptOptions): Promise<Adopted[]> {
  for (const number of listSlots(home, agent)) {
    if (number !== own.number) await takeIn(home, agent, number, own.dir, options).catch(() => undefined);
  }
  const adopted = adoptedFolders(own.dir)
    .filter((dir) => !inUse.has(dir))
    .flatMap((dir) => openAdopted(dir, options));
  return adopted.sort((a, b) => (a.journal.oldestAt ?? 0) - (b.journal.oldestAt ?? 0));
}

/** Folders this process is draining already. */
const inUse = new Set<string>();

/** Those of `dir`, and those in them that a crash left there. */
function adoptedFolders(dir: string): string[] {
  const folders = fs
    .readdirSync(dir, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && NAME.test(entry.name))
    .map((entry) => join(dir, entry.name));
  return folders.flatMap((folder) => [...adoptedFolders(folder), folder]);
}

async function takeIn(home: string, agent: string, number: number, into: string, options: AdoptOptions): Promise<void> {
  const { graceMs = 30_000, isWorthwhile = () => false } = options;
  const dir = slotFolder(home, agent, number);
  const nested = adoptedFolders(dir);
  const hasEvents = listSegments(dir).length > 0;
  if (!hasEvents && nested.length === 0 && !isWorthwhile(dir)) return;
  const lastSign = readOwner(dir)?.mtimeMs ?? fs.statSync(dir).mtimeMs;
  // The file system's times have fractions of a millisecond, `Date.now()` has not.
  if (Date.now() - Math.floor(lastSign) < graceMs) return;
  const slot = await tryClaim(home, agent, number, options);
  if (slot === undefined) return;
  const place = newPlace(into);
  try {
    fs.renameSync(dir, place);
  } finally {
    slot.release();
  }
  for (const name of fs.readdirSync(place)) {
    if (name.startsWith('owner') || name.startsWith('s-')) removeFile(join(place, name));
    // What the dead one had adopted itself is a folder of its own again.
    if (NAME.test(name)) fs.renameSync(join(place, name), newPlace(into));
  }
}

const newPlace = (into: string): string => join(into, `adopted-${randomBytes(6).toString('hex')}`);

function openAdopted(dir: string, options: AdoptOptions): Adopted[] {
  let journal: Journal;
  try {
    journal = openJournal({ dir, maxBytes: options.maxBytes, onProblem: options.onProblem });
  } catch {
    return [];
  }
  inUse.add(dir);
  const finish = (): void => {
    const drained = journal.size.records === 0;
    journal.close();
    inUse.delete(dir);
    if (drained) fs.rmSync(dir, { recursive: true, force: true });
  };
  return [{ dir, journal, finish }];
}
