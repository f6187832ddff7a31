import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import type { JsonValue } from '../engine.js';
import { privateFolder } from './disk.js';
import { JournalError, reasonOf } from './errors.js';
import { type Mailbox, type MessageHandler, type OsLock, openMailbox, osLock, reach } from './local-socket.js';
import {
  dismissOwner,
  isGone,
  LEASE_MS,
  newOwner,
  type Owner,
  publishOwner,
  readOwner,
  renewOwner,
  withdrawOwner,
} from './owner.js';

export interface SlotOptions {
  /** Silence after which a holder on another machine is taken for dead. Default 150 s. */
  readonly leaseMs?: number | undefined;
  /** How often a sign of life is given. Default a tenth of the lease. */
  readonly renewMs?: number | undefined;
}

/** A numbered place of one agent thread: a folder nobody else uses. */
export interface Slot {
  readonly number: number;
  readonly dir: string;
  readonly owner: Owner;
  /** Answers messages of sibling slots; missing: they are refused. A rejection reaches the sender as text. */
  onMessage: MessageHandler | undefined;
  /** Another process has taken the slot, because this one gave no sign of life: stop writing and claim again. */
  onLost: (() => void) | undefined;
  /** Idempotent. The folder stays, for the next to go on with. */
  release(): void;
}

const HIGHEST = 1000;
const NAME = /^slot-(\d{1,4})$/;

/** Folder of all slots of an agent. */
export function agentFolder(home: string, agent: string): string {
  if (/^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$/.test(agent)) return join(home, agent);
  const safe = agent.replace(/[^A-Za-z0-9_-]+/g, '-').slice(0, 40);
  return join(home, `${safe}-${createHash('sha256').update(agent).digest('hex').slice(0, 8)}`);
}

export const slotFolder = (home: string, agent: string, number: number): string =>
  join(agentFolder(home, agent), `slot-${number}`);

/** Numbers of the slots that have a folder, ascending. */
export function listSlots(home: string, agent: string): number[] {
  try {
    return fs
      .readdirSync(agentFolder(home, agent), { withFileTypes: true })
      .flatMap((entry) => (entry.isDirectory() ? (NAME.exec(entry.name)?.[1] ?? []) : []))
      .map(Number)
      .sort((a, b) => a - b);
  } catch {
    return [];
  }
}

/**
 * Takes the lowest free slot of an agent. The slot of a process that died is free at once on the same machine, and
 * after the lease on another one that shares the home. Rejects with `JournalError` when the home cannot be used.
 */
export async function claimSlot(home: string, agent: string, options: SlotOptions = {}): Promise<Slot> {
  privateFolder(agentFolder(home, agent));
  for (let number = 0; number < HIGHEST; number++) {
    const slot = await tryClaim(home, agent, number, options);
    if (slot !== undefined) return slot;
  }
  throw new JournalError('lock', agentFolder(home, agent), `all of ${HIGHEST} slots are taken`);
}

/** Undefined when somebody has it. */
export async function tryClaim(
  home: string,
  agent: string,
  number: number,
  { leaseMs = LEASE_MS, renewMs = leaseMs / 10 }: SlotOptions = {},
): Promise<Slot | undefined> {
  const dir = slotFolder(home, agent, number);
  const lock = await osLock(`${fs.realpathSync(agentFolder(home, agent))}\n${number}`);
  if (lock === undefined) return undefined;
  let mailbox: Mailbox | undefined;
  let slot: HeldSlot | undefined;
  try {
    privateFolder(dir);
    const me = newOwner(lock.name);
    const found = readOwner(dir);
    if (found !== undefined) {
      const free = (await isGone(dir, found, me, leaseMs)) && dismissOwner(dir, found, me.id);
      if (!free) {
        lock.release();
        return undefined;
      }
    }
    mailbox = await openMailbox(dir, me.key, (message) => slot?.receive(message) ?? null);
    const owner: Owner = { ...me, address: mailbox?.address ?? null };
    if (publishOwner(dir, owner)) {
      slot = new HeldSlot(number, dir, owner, mailbox, lock, renewMs);
      return slot;
    }
  } catch (cause) {
    mailbox?.close();
    lock.release();
    throw cause instanceof JournalError ? cause : new JournalError('unwritable', dir, reasonOf(cause), { cause });
  }
  mailbox?.close();
  lock.release();
  return undefined;
}

class HeldSlot implements Slot {
  readonly number: number;
  readonly dir: string;
  owner: Owner;
  onMessage: MessageHandler | undefined;
  onLost: (() => void) | undefined;
  #mailbox: Mailbox | undefined;
  readonly #lock: OsLock;
  readonly #renewal: NodeJS.Timeout;

  constructor(number: number, dir: string, owner: Owner, mailbox: Mailbox | undefined, lock: OsLock, renewMs: number) {
    this.number = number;
    this.dir = dir;
    this.owner = owner;
    this.#mailbox = mailbox;
    this.#lock = lock;
    this.#renewal = setInterval(() => void this.#renew(), renewMs);
    this.#renewal.unref();
  }

  async receive(message: JsonValue): Promise<JsonValue> {
    if (this.onMessage === undefined) throw new Error('no messages are taken');
    return this.onMessage(message);
  }

  release(): void {
    clearInterval(this.#renewal);
    withdrawOwner(this.dir, this.owner);
    this.#mailbox?.close();
    this.#mailbox = undefined;
    this.#lock.release();
  }

  async #renew(): Promise<void> {
    try {
      const renewed = renewOwner(this.dir, this.owner);
      if (renewed === 'missing') await this.#settleAgain();
      else if (!renewed) this.#lose();
    } catch {
      // A home that cannot be written for now; the next sign of life may succeed.
    }
  }

  /** The folder was removed under us. */
  async #settleAgain(): Promise<void> {
    privateFolder(this.dir);
    this.#mailbox?.close();
    this.#mailbox = await openMailbox(this.dir, this.owner.key, (message) => this.receive(message));
    this.owner = { ...this.owner, address: this.#mailbox?.address ?? null };
    if (!publishOwner(this.dir, this.owner)) this.#lose();
  }

  #lose(): void {
    this.release();
    this.onLost?.();
  }
}

/** Who holds a slot, as its folder says; undefined when nobody does or it cannot be read. */
export function slotOwner(home: string, agent: string, number: number): Owner | undefined {
  return readOwner(slotFolder(home, agent, number))?.owner;
}

/**
 * Sends a message to the process that holds a slot on this machine and resolves with its answer. Messages and answers
 * are JSON of at most 1 MiB. Rejects with `JournalError` code `message`.
 */
export async function sendToSlot(
  home: string,
  agent: string,
  number: number,
  message: JsonValue,
  { timeoutMs = 10_000 }: { readonly timeoutMs?: number } = {},
): Promise<JsonValue> {
  const dir = slotFolder(home, agent, number);
  const owner = readOwner(dir)?.owner;
  if (owner === undefined) throw new JournalError('message', dir, 'nobody holds this slot');
  if (owner.address === null) throw new JournalError('message', dir, 'its holder takes no messages');
  return reach(dir, owner.address, owner.key, message, timeoutMs);
}
