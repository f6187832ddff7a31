import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TaskEvent } from '../../../src/engine.js';
import { installTarget } from '../../support/targets.mjs';

const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

export const VERSIONS = ['3.16.2', '4.18.3', '5.81.5', '6.7.0'] as const;

export function targetOf(version: string): Promise<string> {
  return installTarget(`bullmq-${version}`, { bullmq: version, ...(version.startsWith('6') ? { ioredis: '5' } : {}) });
}

export type RecordedEvent = TaskEvent & { readonly pid: number };

export interface Play {
  readonly events: readonly RecordedEvent[];
  /** By scenario: what it returned, or how it failed. */
  readonly outcomes: { readonly [scenario: string]: { readonly value?: unknown; readonly error?: string } };
  /** Engines that became live, with the process they did so in. */
  readonly engines: readonly { readonly engine: string; readonly pid: number }[];
  readonly pid: number | undefined;
  readonly targets: readonly { readonly target: string; readonly outcome: string; readonly error?: string }[];
  readonly warnings: readonly string[];
  readonly exitCode: number | null;
  readonly stderr: string;
  /** The events of the jobs of a queue in short: `{ '1': 's r x ok' }`. */
  sequences(queue: string): { [jobId: string]: string };
  of(queue: string, jobId: string, kind?: string): readonly RecordedEvent[];
}

export interface PlayOptions {
  readonly version: string;
  readonly mode: 'cjs' | 'esm';
  readonly port: number;
  readonly scenarios: readonly string[];
  /** Where BullMQ is installed; default a folder with this version. */
  readonly folder?: string;
  /** Loaded before the host; default the observer of this folder. */
  readonly preload?: string;
  readonly env?: NodeJS.ProcessEnv;
}

const SHORT: { readonly [kind: string]: string } = {
  'task.sent': 's',
  'task.received': 'r',
  'task.started': 'x',
  'task.succeeded': 'ok',
  'task.failed': 'f',
  'task.retried': 't',
  'task.revoked': 'v',
  'task.rejected': 'o',
};

function short({ kind, data }: RecordedEvent): string {
  return kind === 'task.received' && data.reason !== undefined ? `q(${data.reason})` : (SHORT[kind] ?? kind);
}

/** Runs scenarios in one process of an application and resolves when it has ended by itself. */
export async function play(options: PlayOptions): Promise<Play> {
  const { version, mode, port, scenarios, preload = file('./preload.mjs'), env = {} } = options;
  const folder = options.folder ?? (await targetOf(version));
  const args = ['--import', preload, file('./host.cjs'), folder, mode, String(port), ...scenarios];
  const scratch = await mkdtemp(join(tmpdir(), 'z4j-bullmq-'));
  const record = join(scratch, 'events');
  const child = spawn(process.execPath, args, {
    env: { ...process.env, NODE_OPTIONS: '', TEST_VERSION: version, TEST_EVENTS: record, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const text = ['', '', ''];
  for (const fd of [1, 2]) {
    const stream = child.stdio[fd] as NodeJS.ReadableStream;
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      text[fd] += chunk;
    });
  }
  const limit = setTimeout(() => child.kill('SIGKILL'), 60_000);
  const exitCode = await new Promise<number | null>((resolve) => child.once('close', resolve));
  clearTimeout(limit);
  const recorded = await readFile(record, 'utf8').catch(() => '');
  await rm(scratch, { recursive: true });
  const lines = recorded
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  // In the order of what happened, as a brain sees it.
  const events: RecordedEvent[] = lines
    .flatMap(({ event, pid }) => (event ? { ...event, pid } : []))
    .sort((a, b) => a.occurredAt - b.occurredAt);
  const of = (queue: string, jobId: string, kind?: string): readonly RecordedEvent[] =>
    events.filter((event) => event.taskId === `${queue}:${jobId}` && (kind === undefined || event.kind === kind));
  return {
    events,
    outcomes: outcomes(text[1] ?? ''),
    engines: lines.filter(({ engine }) => engine),
    pid: child.pid,
    targets: lines.filter(({ target }) => target),
    warnings: lines.flatMap(({ warning }) => warning ?? []),
    exitCode,
    stderr: text[2] ?? '',
    of,
    sequences(queue) {
      const result: { [jobId: string]: string } = {};
      for (const id of new Set(events.flatMap(({ taskId }) => (taskId.startsWith(`${queue}:`) ? [taskId] : [])))) {
        const kinds = events.filter(({ taskId }) => taskId === id).map(short);
        // A worker of the same process may be ahead of the producer's promise.
        if (kinds.indexOf('s') > 0) kinds.unshift(...kinds.splice(kinds.indexOf('s'), 1));
        result[id.slice(queue.length + 1)] = kinds.join(' ');
      }
      return result;
    },
  };
}

function outcomes(output: string): Play['outcomes'] {
  try {
    return JSON.parse(output.trim().split('\n').at(-1) ?? '');
  } catch {
    return { host: { error: `no report; its output: ${output}` } };
  }
}

/** Empties the server between two hosts: job ids start at 1 again. Resolves with the port. */
export async function fresh(port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.end('FLUSHALL\r\n'));
    socket.on('data', () => {});
    socket.on('close', () => resolve());
    socket.on('error', reject);
  });
  return port;
}
