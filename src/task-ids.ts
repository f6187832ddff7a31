import { createHash } from 'node:crypto';
import { shorten } from './identity.js';
import { REDACTED_TEXT } from './printer.js';
import type { Redactor } from './redactor.js';

/** What a PostgreSQL brain's column holds (protocol.md §4.1): a longer id would lose the event. */
const MAX_ID = 200;
/** A power of two: tasks that run at once meet in one slot rarely. */
const SLOTS = 256;

/** What no task id may hold: REST paths know no slash, databases no control characters. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const UNSAFE = /[/\u0000-\u001f\u007f]/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const UNSAFE_ALL = /[/\u0000-\u001f\u007f]/g;

/** A task id as events have it. */
export interface TaskId {
  readonly engine: string;
  /** As the engine says it. */
  readonly id: string;
  /** Printed, quotes included. */
  readonly text: string;
  /** As in `RecordMeta`; 0: about no task. */
  readonly hash: number;
}

/** Prepares task ids once for all the events of a run, which come one after the other. */
export class TaskIds {
  readonly #redactor: Redactor;
  readonly #known: (TaskId | undefined)[] = new Array(SLOTS).fill(undefined);

  constructor(redactor: Redactor) {
    this.#redactor = redactor;
  }

  of(engine: string, id: string): TaskId {
    const { length } = id;
    const slot = length < 2 ? 0 : (id.charCodeAt(length - 1) + id.charCodeAt(length - 2) * 17) & (SLOTS - 1);
    const known = this.#known[slot];
    if (known !== undefined && known.id === id && known.engine === engine) return known;
    const text = this.#redactor.print(safe(id));
    const printed = text === REDACTED_TEXT ? `"${hidden(id)}"` : text;
    const made = { engine, id, text: printed, hash: id === '' ? 0 : taskHash(engine, id) };
    this.#known[slot] = made;
    return made;
  }

  /** The same id among an event's data: not printed. */
  plain(id: string): string {
    const plain = safe(id);
    return this.#redactor.print(plain) === REDACTED_TEXT ? hidden(id) : plain;
  }
}

/** Task ids come safe from the engines; one that is not would lose the event or could not be addressed. */
function safe(id: string): string {
  return shorten(UNSAFE.test(id) ? id.replace(UNSAFE_ALL, encodeURIComponent) : id, MAX_ID);
}

/** An id that reads as a secret (a job named after a mail address) stays one of its own. */
function hidden(id: string): string {
  return `redacted-${createHash('sha256').update(id).digest('hex').slice(0, 20)}`;
}

/** FNV-1a; never 0, which means: about no task. */
export function taskHash(engine: string, taskId: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < engine.length; i++) hash = Math.imul(hash ^ engine.charCodeAt(i), 0x01000193);
  for (let i = 0; i < taskId.length; i++) hash = Math.imul(hash ^ taskId.charCodeAt(i), 0x01000193);
  return hash >>> 0 || 1;
}
