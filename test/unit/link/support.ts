import { randomUUID } from 'node:crypto';
import type { Journal } from '../../../src/journal/journal.js';
import { memoryJournal } from '../../../src/journal/memory.js';
import type { LinkOptions } from '../../../src/link/index.js';
import { Link } from '../../../src/link/index.js';
import { createLog } from '../../../src/log.js';
import type { HelloPayload } from '../../../src/protocol/index.js';
import type { StubBrain } from '../../../src/testing/index.js';

export function helloPayload(workerId = 'node-test-0'): HelloPayload {
  return {
    protocol_version: '2',
    agent_version: '1.13.0+node.0.1.0',
    framework: 'node',
    engines: ['bullmq'],
    schedulers: [],
    capabilities: { bullmq: ['cancel_task'] },
    host: { name: 'test' },
    worker_id: workerId,
    worker_role: 'task',
    worker_pid: process.pid,
    worker_started_at: new Date().toISOString(),
    runtime_features: [],
  };
}

let number = 0;

/** Canonical text of an event: keys in order, no blanks. */
export function eventText(taskId = `mail:${++number}`, kind = 'task.sent', extra = ''): string {
  return `{"data":{${extra}"queue":"mail","task_name":"send"},"engine":"bullmq","id":"${randomUUID()}","kind":"${kind}","occurred_at":"${new Date().toISOString()}","task_id":"${taskId}"}`;
}

export function append(journal: Journal, count: number, prefix = 'mail'): void {
  for (let i = 0; i < count; i++) journal.append(eventText(`${prefix}:${i}`), { kind: 0, task: i });
}

export interface Rig extends AsyncDisposable {
  readonly link: Link;
  readonly journal: Journal;
  readonly lines: string[];
}

/** A link to `brain` with quick back-off; stopped at the end of its scope. */
export function rig(
  brain: Pick<StubBrain, 'url' | 'token' | 'secret'>,
  options: Partial<LinkOptions> & { journal?: Journal } = {},
): Rig {
  const journal = options.journal ?? memoryJournal({ maxBytes: 256 * 1024 * 1024 });
  const lines: string[] = [];
  const link = new Link({
    url: brain.url,
    token: brain.token,
    secret: brain.secret,
    hello: () => helloPayload(),
    journal,
    onCommand: (_command, reply) => reply.result({ status: 'failed', result: null, error: 'unsupported action' }),
    log: createLog({ level: 'info', write: (line) => lines.push(line) }),
    env: {},
    backoff: { scale: 0.01 },
    ...options,
  });
  return {
    link,
    journal,
    lines,
    [Symbol.asyncDispose]: () => link.stop({ timeoutMs: 0 }),
  };
}
