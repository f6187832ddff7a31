import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { errnoOf, JournalError, reasonOf } from './errors.js';

const { O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_WRONLY, O_TRUNC } = fs.constants;
/** Missing on Windows, where making links needs a privilege. */
const O_NOFOLLOW = fs.constants.O_NOFOLLOW ?? 0;

/**
 * Makes `path` and its parents, readable by us alone, and refuses a link or another user's folder in its place.
 * Throws `JournalError`.
 */
export function privateFolder(path: string): void {
  try {
    makeFolders(path);
    const found = fs.lstatSync(path);
    if (!found.isDirectory()) throw new JournalError('unsafe', path, 'is not a folder (links are not followed)');
    const uid = process.getuid?.();
    if (uid !== undefined && uid !== 0 && found.uid !== uid) {
      throw new JournalError('unsafe', path, `belongs to user ${found.uid}, not to ${uid}`);
    }
    if (uid !== undefined && (found.mode & 0o077) !== 0) fs.chmodSync(path, 0o700);
    fs.accessSync(path, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK);
  } catch (cause) {
    if (cause instanceof JournalError) throw cause;
    const code = errnoOf(cause) === 'EEXIST' ? 'unsafe' : 'unwritable';
    const reason = code === 'unsafe' ? 'is not a folder (links are not followed)' : reasonOf(cause);
    throw new JournalError(code, path, reason, { cause });
  }
}

/** Not `recursive: true`, which turns a read-only file system into ENOENT. */
function makeFolders(path: string, withParents = true): void {
  try {
    fs.mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    const parent = dirname(path);
    if (errnoOf(error) === 'ENOENT' && withParents && parent !== path) {
      makeFolders(parent);
      makeFolders(path, false);
    } else if (!fs.existsSync(path)) {
      throw error;
    }
  }
}

/** Opens a file that must not exist; whatever sits in its place (a planted link, a remnant) is unlinked, once. */
export function createFile(path: string): number {
  const flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW;
  try {
    return fs.openSync(path, flags, 0o600);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error;
    fs.unlinkSync(path);
    return fs.openSync(path, flags, 0o600);
  }
}

/** Opens an ordinary file; throws for links and everything else. */
export function openFile(path: string, mode: 'read' | 'write'): number {
  const fd = fs.openSync(path, (mode === 'read' ? O_RDONLY : O_RDWR) | O_NOFOLLOW);
  if (fs.fstatSync(fd).isFile()) return fd;
  fs.closeSync(fd);
  throw new JournalError('unsafe', path, 'is not an ordinary file');
}

/** Writes all of it; throws after a part of it was written when the disk is full. */
export function writeFully(fd: number, bytes: Uint8Array, length: number, at: number): void {
  for (let done = 0; done < length; ) done += fs.writeSync(fd, bytes, done, length - done, at + done);
}

/** Replaces a file as a whole: after a crash there is the old or the new one. */
export function replaceFile(path: string, text: string | Uint8Array, fsync = false): void {
  const temporary = join(dirname(path), `.${process.pid}-${Math.random().toString(36).slice(2)}.tmp`);
  try {
    const fd = fs.openSync(temporary, O_WRONLY | O_CREAT | O_EXCL | O_TRUNC | O_NOFOLLOW, 0o600);
    try {
      fs.writeFileSync(fd, text);
      if (fsync) fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
    fs.renameSync(temporary, path);
  } catch (error) {
    removeFile(temporary);
    throw error;
  }
}

/** Undefined when there is none, when it is a link, or when it is larger than `maxBytes`. */
export function readSmallFile(path: string, maxBytes: number): Buffer | undefined {
  try {
    const fd = openFile(path, 'read');
    try {
      return fs.fstatSync(fd).size > maxBytes ? undefined : fs.readFileSync(fd);
    } finally {
      fs.closeSync(fd);
    }
  } catch {
    return undefined;
  }
}

/** True when it is gone afterwards. */
export function removeFile(path: string): boolean {
  try {
    fs.unlinkSync(path);
    return true;
  } catch (error) {
    return errnoOf(error) === 'ENOENT';
  }
}

export function closeQuietly(fd: number | undefined): void {
  if (fd === undefined) return;
  try {
    fs.closeSync(fd);
  } catch {
    // Nothing is left to be done with it.
  }
}

/** Whether an open file no longer has a name: its folder was removed under us. */
export function isUnlinked(fd: number): boolean {
  try {
    return fs.fstatSync(fd).nlink === 0;
  } catch {
    return true;
  }
}

/**
 * A few numbers in a file, written in place, in two copies by turns: a torn write leaves the other copy. Never throws;
 * what could not be written is written with the next change.
 */
export class NumberCell {
  readonly #path: string;
  readonly #bytes: number;
  readonly #buffer: Buffer;
  #fd: number | undefined;
  #turn = 0;
  #checkedAt = 0;

  constructor(path: string, numbers: number) {
    this.#path = path;
    this.#bytes = 16 + numbers * 8;
    this.#buffer = Buffer.alloc(this.#bytes);
  }

  /** The numbers as they were written last; undefined when there are none that can be trusted. */
  read(): number[] | undefined {
    const found = readSmallFile(this.#path, 2 * this.#bytes);
    let best: number[] | undefined;
    for (const copy of [0, 1]) {
      const bytes = found?.subarray(copy * this.#bytes, (copy + 1) * this.#bytes);
      if (bytes?.length !== this.#bytes || bytes.readUInt32LE(0) !== crc32(bytes.subarray(4))) continue;
      const turn = bytes.readDoubleLE(8);
      if (!Number.isSafeInteger(turn) || turn <= this.#turn) continue;
      this.#turn = turn;
      best = [];
      for (let at = 16; at < this.#bytes; at += 8) best.push(bytes.readDoubleLE(at));
    }
    return best;
  }

  write(numbers: readonly number[]): boolean {
    const buffer = this.#buffer;
    this.#turn++;
    buffer.writeDoubleLE(this.#turn, 8);
    for (const [index, value] of numbers.entries()) buffer.writeDoubleLE(value, 16 + index * 8);
    buffer.writeUInt32LE(crc32(buffer.subarray(4)), 0);
    try {
      this.#reopenIfRemoved();
      this.#fd ??= this.#open();
      writeFully(this.#fd, buffer, this.#bytes, (this.#turn % 2) * this.#bytes);
      return true;
    } catch {
      this.close();
      return false;
    }
  }

  close(): void {
    closeQuietly(this.#fd);
    this.#fd = undefined;
  }

  #reopenIfRemoved(): void {
    const now = Date.now();
    if (this.#fd === undefined || Math.abs(now - this.#checkedAt) < 1000) return;
    this.#checkedAt = now;
    if (isUnlinked(this.#fd)) this.close();
  }

  #open(): number {
    try {
      return openFile(this.#path, 'write');
    } catch {
      return createFile(this.#path);
    }
  }
}
