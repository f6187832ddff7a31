import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { hostname, uptime } from 'node:os';
import { join } from 'node:path';
import { threadId } from 'node:worker_threads';
import { readSmallFile, removeFile } from './disk.js';
import { errnoOf } from './errors.js';
import { isListening } from './local-socket.js';

/** Who holds a slot; the text of the file `owner` in its folder. */
export interface Owner {
  readonly id: string;
  readonly pid: number;
  readonly thread: number;
  readonly host: string;
  /** Identity of the running kernel; empty where there is none. */
  readonly boot: string;
  /** Network namespace; empty where there is none. */
  readonly net: string;
  /** Name of the operating system's lock it holds; empty when it has none. */
  readonly lock: string;
  /** Of its mailbox; null when it could have none. */
  readonly address: string | null;
  /** To be sent with every message. */
  readonly key: string;
  /** Milliseconds since the epoch. */
  readonly since: number;
}

/** A holder on another machine is taken for dead when it gave no sign for so long; more than a blocked host needs. */
export const LEASE_MS = 150_000;
const FILE = 'owner';

function attempt(read: () => string): string {
  try {
    return read().trim();
  } catch {
    return '';
  }
}

export function newOwner(lock: string): Omit<Owner, 'address'> {
  return {
    id: randomBytes(12).toString('hex'),
    pid: process.pid,
    thread: threadId,
    host: hostname(),
    boot: attempt(() => fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8')),
    net: attempt(() => fs.readlinkSync('/proc/self/ns/net')),
    lock,
    key: randomBytes(16).toString('hex'),
    since: Date.now(),
  };
}

/** The owner file of a slot; `owner` is undefined when there is one that cannot be understood. */
export interface OwnerFile {
  readonly owner: Owner | undefined;
  /** When its holder gave its last sign, by the clock of the file system. */
  readonly mtimeMs: number;
  readonly text: string;
}

export function readOwner(dir: string): OwnerFile | undefined {
  const path = join(dir, FILE);
  try {
    const { mtimeMs } = fs.lstatSync(path);
    const text = readSmallFile(path, 8192)?.toString() ?? '';
    return { owner: parse(text), mtimeMs, text };
  } catch {
    return undefined;
  }
}

function parse(text: string): Owner | undefined {
  try {
    const owner = JSON.parse(text) as Owner;
    const texts = [owner.id, owner.host, owner.boot, owner.net, owner.lock, owner.key];
    return texts.every((value) => typeof value === 'string') ? owner : undefined;
  } catch {
    return undefined;
  }
}

/** Writes the owner file where there is none. False: somebody was first. */
export function publishOwner(dir: string, owner: Owner): boolean {
  const path = join(dir, FILE);
  const own = join(dir, `${FILE}-${owner.id}`);
  const text = JSON.stringify(owner);
  try {
    fs.writeFileSync(own, text, { mode: 0o600, flag: 'wx' });
    try {
      fs.linkSync(own, path);
      return true;
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') return false;
      // A file system without links: a reader may see the file half written, and then takes it for a live one.
      fs.writeFileSync(path, text, { mode: 0o600, flag: 'wx' });
      return true;
    }
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  } finally {
    removeFile(own);
  }
}

/**
 * Takes the file of a dead owner away; of several processes that try, one succeeds. False: it was not that owner's any
 * more, and was put back.
 */
export function dismissOwner(dir: string, dead: OwnerFile, by: string): boolean {
  const path = join(dir, FILE);
  const aside = join(dir, `${FILE}-${by}-dead`);
  try {
    fs.renameSync(path, aside);
  } catch {
    return false;
  }
  const same = readSmallFile(aside, 8192)?.toString() === dead.text || dead.owner === undefined;
  if (!same) {
    try {
      fs.linkSync(aside, path);
    } catch {
      // A third one was faster; the owner that was pushed out notices with its next sign of life.
    }
  }
  removeFile(aside);
  if (same && dead.owner?.address?.startsWith('s-')) removeFile(join(dir, dead.owner.address));
  return same;
}

/** A sign of life: the file's time by the file system's own clock. False: the file is not `owner`'s any more. */
export function renewOwner(dir: string, owner: Owner): boolean | 'missing' {
  const found = readOwner(dir);
  if (found === undefined) return 'missing';
  if (found.owner?.id !== owner.id) return false;
  fs.writeFileSync(join(dir, FILE), found.text, { flag: 'r+' });
  return true;
}

export function withdrawOwner(dir: string, owner: Owner): void {
  if (readOwner(dir)?.owner?.id === owner.id) removeFile(join(dir, FILE));
}

/** Whether the holder of a slot has died. Asked while holding the operating system's lock `me.lock`. */
export async function isGone(
  dir: string,
  { owner, mtimeMs }: OwnerFile,
  me: Omit<Owner, 'address'>,
  leaseMs: number,
): Promise<boolean> {
  const silentMs = fileSystemNow(dir, me.id) - mtimeMs;
  if (owner === undefined) return silentMs > leaseMs;
  const sameKernel = owner.boot === me.boot && (me.boot !== '' || owner.host === me.host);
  if (!sameKernel) {
    const beforeBoot = owner.host === me.host && mtimeMs < Date.now() - uptime() * 1000;
    return beforeBoot || silentMs > leaseMs;
  }
  // The lock is seen within one network namespace, a socket in the folder on the whole machine.
  if (me.lock !== '' && owner.net === me.net && owner.lock === me.lock) return true;
  if (owner.address === null) return silentMs > leaseMs;
  return (await isListening(dir, owner.address)) === false;
}

/** The time of the file system's clock, which may be another machine's. */
function fileSystemNow(dir: string, id: string): number {
  const probe = join(dir, `${FILE}-${id}-clock`);
  try {
    fs.writeFileSync(probe, '', { mode: 0o600, flag: 'wx' });
    return fs.statSync(probe).mtimeMs;
  } catch {
    return Date.now();
  } finally {
    removeFile(probe);
  }
}
