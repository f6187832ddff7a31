/** A host process of its own for process.test.ts: `child.mjs <brain as JSON> <how>`. */
import { isMainThread, Worker } from 'node:worker_threads';
import { memoryJournal } from '../../../src/journal/memory.js';
import { Link } from '../../../src/link/index.js';
import { createLog } from '../../../src/log.js';

const { url, token, secret } = JSON.parse(process.argv[2] ?? '') as { url: string; token: string; secret: string };
const how = process.argv[3];

function start(): Link {
  const journal = memoryJournal({ maxBytes: 1e9 });
  const link = new Link({
    url,
    token,
    secret: Buffer.from(secret, 'base64url'),
    journal,
    hello: () => ({
      protocol_version: '2',
      agent_version: '1.13.0',
      framework: 'node',
      engines: [],
      schedulers: [],
      capabilities: {},
      host: { name: 'child' },
      worker_id: `child-${isMainThread}`,
      worker_role: null,
      worker_pid: process.pid,
      worker_started_at: null,
      runtime_features: [],
    }),
    onCommand: () => undefined,
    onState: (state) => {
      if (state === 'connected') process.stdout.write('connected\n');
    },
    onSession: (session) => {
      // More than the system buffers for a connection.
      for (let i = 0; how === 'flood' && i < 20; i++) {
        session?.sendEvents([Buffer.from(`{"data":{"x":"${'x'.repeat(900_000)}"}}`)]).catch(() => undefined);
      }
    },
    log: createLog({ level: 'silent' }),
    transport: how === 'longpoll' ? 'longpoll' : 'ws',
    env: {},
  });
  for (let i = 0; i < 10; i++) {
    const event = `{"data":{"queue":"mail"},"engine":"bullmq","id":"","kind":"task.received","occurred_at":"${new Date().toISOString()}","task_id":"mail:${i}"}`;
    journal.append(event, { kind: 0, task: i });
  }
  link.start();
  return link;
}

if (how === 'thread' && isMainThread) {
  const worker = new Worker(new URL(import.meta.url), { argv: process.argv.slice(2) });
  worker.on('exit', (code) => process.stdout.write(`thread ended ${code}\n`));
} else {
  const link = start();
  if (how === 'stop' || how === 'thread') {
    setTimeout(() => void link.stop(), 300);
  } else {
    // The host's own work; afterwards it has no reason to live.
    setTimeout(() => undefined, 700);
  }
}
