// Host CPU of one snapshot of many schedules: list, rows, redaction, comparison, digests, frames, memory. Build first.
//   node bench/schedules.mjs [--schedules 1000] [--json]
import { parseArgs } from 'node:util';
import { ScheduleStream, scheduleMemory } from '../dist/src/agent-link.js';
import { Redactor } from '../dist/src/index.js';
import { createLog } from '../dist/src/register.js';

const { values } = parseArgs({
  options: { schedules: { type: 'string', default: '1000' }, json: { type: 'boolean', default: false } },
});
const count = Number(values.schedules);
const ROUNDS = 40;
const WARM = 10;

const schedules = Array.from({ length: count }, (_, i) => ({
  name: `reports/tenant-${i}/nightly`,
  taskName: 'buildNightlyReport',
  kind: 'cron',
  expression: `${i % 60} ${i % 24} * * *`,
  timezone: 'Europe/Oslo',
  queue: 'reports',
  args: [i, `tenant-${i}`],
  kwargs: { format: 'pdf', recipients: ['finance', 'board'], options: { pages: 12, ratio: 0.5 } },
  enabled: true,
  lastRunAt: 1_790_000_000_000 + i * 1000,
  nextRunAt: Date.now() + 3_600_000 + i * 1000,
  totalRuns: i,
  source: 'node-cron:code',
}));
const scheduler = { operations: [], list: async () => schedules, onChange: () => () => {} };
const texts = new Map();
const redactor = new Redactor();
let bytes = 0;
const stream = new ScheduleStream({
  owner: 'bench-engine',
  engine: { name: 'engine' },
  scheduler,
  memory: scheduleMemory('bench-engine', { get: (key) => texts.get(key), set: (key, text) => texts.set(key, text) }),
  link: {
    send: async (records) => {
      bytes = records.reduce((sum, record) => sum + record.length, 0);
      return { received: records.length, accepted: records.length, rejected: 0 };
    },
    reconnect() {},
  },
  redact: (value) => JSON.parse(redactor.print(value, 5)),
  log: createLog(),
  settleMs: 0,
});
await stream.activate({
  stream_id: '11111111-1111-4111-8111-111111111111',
  epoch_uuid: '22222222-2222-4222-8222-222222222222',
  epoch_number: 7,
  owner: 'bench-engine',
  source_scope: '{"kind":"scheduler-owner","owner":"bench-engine","version":1}',
  adapter_instance_id: '33333333-3333-4333-8333-333333333333',
});

const cpu = async (run) => {
  const before = process.cpuUsage();
  await run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
};
const sorted = (numbers) => numbers.sort((a, b) => a - b);
const round = (ms) => Math.round(ms * 100) / 100;
const measure = async (prepare, always) => {
  const found = [];
  for (let i = 0; i < ROUNDS + WARM; i++) {
    prepare(i);
    const took = await cpu(() => stream.refresh('bench', always));
    if (i >= WARM) found.push(took);
  }
  const [least] = sorted(found);
  return { least: round(least), median: round(found[found.length >> 1]) };
};

const first = await measure((i) => {
  for (const schedule of schedules) schedule.totalRuns = i;
}, true);
const one = await measure((i) => Object.assign(schedules[0], { totalRuns: 1000 + i }), false);
const none = await measure(() => {}, false);
stream.close();
const result = { schedules: count, bytes, cpu_ms: { all_changed: first, one_changed: one, unchanged: none } };
process.stdout.write(
  values.json
    ? `${JSON.stringify(result)}\n`
    : `snapshot of ${count} schedules (${bytes} bytes), host CPU in ms, least and median of ${ROUNDS}:\n  all changed ${first.least} ${first.median}\n  one changed ${one.least} ${one.median}\n  looked, nothing changed ${none.least} ${none.median}\n`,
);
