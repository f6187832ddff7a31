/**
 * What recording an event costs the host, up to the journal's append: `node bench/capture.mjs` after `npm run build`.
 * CPU time; the target is 2 µs for a typical event. Each shape beside one `JSON.stringify` of the same event, which is
 * what the least careful agent would do.
 */
import { randomUUID } from 'node:crypto';
import { Dispatcher, Redactor } from '../dist/src/index.js';

const ROUNDS = 15;
const EVENTS = 20_000;

let bytes = 0;
// What a journal does with a text at least: make it flat.
const journal = {
  append(text) {
    bytes += Buffer.byteLength(text);
  },
  flush() {},
};
const dispatcher = new Dispatcher({
  journal,
  redactor: new Redactor(),
  identity: { workerName: (_, queue) => `host-1:${queue}` },
});

const base = { task_name: 'send-mail', queue: 'mail', priority: 'normal' };
const shapes = {
  'task.received, small args': (i) => ({
    kind: 'task.received',
    engine: 'bullmq',
    taskId: `mail:${i}`,
    occurredAt: Date.now(),
    data: { ...base, args: [{ userId: i, template: 'welcome', locale: 'en' }], kwargs: {} },
  }),
  'task.started': (i) => ({
    kind: 'task.started',
    engine: 'bullmq',
    taskId: `mail:${i}`,
    occurredAt: Date.now(),
    data: { ...base, attempt: 1 },
    workerOf: 'mail',
  }),
  'task.succeeded': (i) => ({
    kind: 'task.succeeded',
    engine: 'bullmq',
    taskId: `mail:${i}`,
    occurredAt: Date.now(),
    data: { ...base, result: { sent: true, id: i }, runtime_ms: 12.75 },
    workerOf: 'mail',
  }),
  'task.failed, traceback of 2 KiB': (i) => ({
    kind: 'task.failed',
    engine: 'bullmq',
    taskId: `mail:${i}`,
    occurredAt: Date.now(),
    data: {
      ...base,
      exception: 'TypeError: cannot read properties of undefined',
      traceback: '    at handler (file:///srv/app/dist/worker.js:120:13)\n'.repeat(38),
      runtime_ms: 3,
    },
    workerOf: 'mail',
  }),
  'task.received, 60 keys': (i) => ({
    kind: 'task.received',
    engine: 'bullmq',
    taskId: `mail:${i}`,
    occurredAt: Date.now(),
    data: { ...base, args: [order(i)], kwargs: {} },
  }),
};

function order(i) {
  return {
    orderId: i,
    customer: { id: 5, name: 'Ada Lovelace', street: '12 St James Square', city: 'London', vip: true },
    lines: Array.from({ length: 10 }, (_, n) => ({ sku: `SKU-${n}`, quantity: n, price: 9.99, note: 'as agreed' })),
    createdAt: '2026-11-23T17:15:38.120Z',
    reference: '6f1f2a0e-0c1d-4a0e-8f1f-6f1f2a0e6f1f',
  };
}

function cost(make, use) {
  let best = Number.POSITIVE_INFINITY;
  const events = Array.from({ length: EVENTS }, (_, i) => make(i));
  for (let round = 0; round < ROUNDS; round++) {
    const start = process.cpuUsage();
    for (const event of events) use(event);
    const { user, system } = process.cpuUsage(start);
    best = Math.min(best, (user + system) / EVENTS);
  }
  return best;
}

console.log(`node ${process.version}; µs of CPU an event, best of ${ROUNDS} rounds of ${EVENTS}`);
console.log('  record  stringify  ratio');
for (const [name, make] of Object.entries(shapes)) {
  const record = cost(make, (event) => dispatcher.record(event));
  const stringify = cost(make, ({ data, ...rest }) =>
    journal.append(JSON.stringify({ data, ...rest, id: randomUUID() })),
  );
  console.log(
    `${record.toFixed(2).padStart(8)} ${stringify.toFixed(2).padStart(10)} ${(record / stringify).toFixed(2).padStart(6)}  ${name}`,
  );
}
console.log(`${dispatcher.counts.recorded} recorded, ${dispatcher.counts.dropped} dropped`);
if (bytes === 0) throw new Error('nothing was printed');
