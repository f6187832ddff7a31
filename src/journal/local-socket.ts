import { createHash, randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JsonValue } from '../engine.js';
import { quietly } from '../quiet.js';
import { closeQuietly, removeFile } from './disk.js';
import { errnoOf, JournalError } from './errors.js';

/** Longest message or answer, in bytes of JSON. */
export const MAX_MESSAGE = 1 << 20;
/** What fits into `sockaddr_un` everywhere, with room for the closing zero. */
const MAX_PATH = 100;

export type MessageHandler = (message: JsonValue) => Promise<JsonValue> | JsonValue;

export interface OsLock {
  /** Empty: the system has no such lock, or forbids it, and the owner file decides alone. */
  readonly name: string;
  release(): void;
}

/**
 * The lock of `name` among the processes and threads of this machine (of this network namespace, on Linux), released by
 * the kernel with its holder. Undefined: somebody has it.
 */
export async function osLock(name: string): Promise<OsLock | undefined> {
  const path = osLockPath(name);
  const none: OsLock = { name: '', release: () => undefined };
  if (path === undefined) return none;
  const server = createServer((socket) => socket.destroy());
  try {
    await listen(server, path);
  } catch (error) {
    return errnoOf(error) === 'EADDRINUSE' ? undefined : none;
  }
  return { name, release: () => void server.close() };
}

function osLockPath(name: string): string | undefined {
  const short = createHash('sha256').update(name).digest('hex').slice(0, 32);
  if (process.platform === 'linux') return `\0z4j-${short}`;
  if (process.platform === 'win32') return `\\\\.\\pipe\\z4j-lock-${short}`;
  return undefined;
}

/** A local socket that can be reached by who can read the folder of the slot. */
export interface Mailbox {
  /** To be handed to `reach`: a file name in `dir`, or an absolute path. */
  readonly address: string;
  close(): void;
}

/** Undefined when the file system of `dir` has no sockets. */
export async function openMailbox(dir: string, key: string, handler: MessageHandler): Promise<Mailbox | undefined> {
  const address = newAddress(dir);
  const server = createServer((socket) => serve(socket, key, handler));
  try {
    await at(dir, address, (path) => listen(server, path));
  } catch {
    return undefined;
  }
  return {
    address,
    close: () => {
      server.close();
      if (process.platform !== 'win32') removeFile(join(dir, address));
    },
  };
}

function newAddress(dir: string): string {
  const name = `s-${randomBytes(6).toString('hex')}`;
  if (process.platform === 'win32') return `\\\\.\\pipe\\z4j-${name}`;
  const fits = process.platform === 'linux' || Buffer.byteLength(join(dir, name)) <= MAX_PATH;
  return fits ? name : join(tmpdir(), `z4j-${name}`);
}

/** Runs `use` with a path for the socket that is short enough, whatever the length of `dir`. */
async function at<T>(dir: string, address: string, use: (path: string) => Promise<T>): Promise<T> {
  const plain = address.startsWith('s-') ? join(dir, address) : address;
  if (Buffer.byteLength(plain) <= MAX_PATH || process.platform !== 'linux') return use(plain);
  const fd = fs.openSync(dir, fs.constants.O_RDONLY);
  try {
    return await use(`/proc/self/fd/${fd}/${address}`);
  } finally {
    closeQuietly(fd);
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // `exclusive`: a worker of node:cluster would otherwise share the socket of its primary.
    server.listen({ path, exclusive: true }, () => {
      server.off('error', reject);
      server.on('error', () => undefined);
      server.unref();
      resolve();
    });
  });
}

function serve(socket: Socket, key: string, handler: MessageHandler): void {
  socket.unref();
  socket.on('error', () => socket.destroy());
  socket.setTimeout(60_000, () => socket.destroy());
  readLine(socket)
    .then(async (line) => {
      const request = JSON.parse(line) as { key?: unknown; message?: JsonValue };
      if (request.key !== key) throw new Error('wrong key');
      return { answer: await handler(request.message ?? null) };
    })
    .catch((error: unknown) => ({ error: error instanceof Error ? error.message : String(error) }))
    .then((answer) => socket.end(`${JSON.stringify(answer)}\n`))
    .catch(() => socket.destroy());
}

/** Whether somebody listens there; `unknown` when that cannot be found out. */
export async function isListening(dir: string, address: string): Promise<boolean | 'unknown'> {
  try {
    const socket = await at(dir, address, dial);
    socket.destroy();
    return true;
  } catch (error) {
    return ['ECONNREFUSED', 'ENOENT', 'ENOTSOCK'].includes(errnoOf(error)) ? false : 'unknown';
  }
}

/** Sends one message and resolves with the answer. Rejects with `JournalError`. */
export async function reach(
  dir: string,
  address: string,
  key: string,
  message: JsonValue,
  timeoutMs: number,
): Promise<JsonValue> {
  const line = JSON.stringify({ key, message });
  if (Buffer.byteLength(line) > MAX_MESSAGE)
    throw new JournalError('message', dir, `is longer than ${MAX_MESSAGE} bytes`);
  let answer: { answer?: JsonValue; error?: string };
  let socket: Socket | undefined;
  try {
    socket = await at(dir, address, dial);
    socket.setTimeout(timeoutMs, () => socket?.destroy(new Error(`no answer within ${timeoutMs} ms`)));
    socket.write(`${line}\n`);
    answer = JSON.parse(await readLine(socket)) as typeof answer;
  } catch (cause) {
    throw new JournalError('message', dir, `cannot be reached: ${String(cause)}`, { cause });
  } finally {
    socket?.destroy();
  }
  if (answer.error !== undefined) throw new JournalError('message', dir, `refused: ${answer.error}`);
  return answer.answer ?? null;
}

function dial(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = quietly(() => connect(path));
    socket.unref();
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      socket.on('error', () => undefined);
      resolve(socket);
    });
  });
}

function readLine(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let bytes = 0;
    socket.on('data', (part: Buffer) => {
      const end = part.indexOf(10);
      parts.push(end < 0 ? part : part.subarray(0, end));
      bytes += part.length;
      if (end >= 0) resolve(Buffer.concat(parts).toString());
      else if (bytes > 2 * MAX_MESSAGE) socket.destroy(new Error('line too long'));
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed')));
  });
}
