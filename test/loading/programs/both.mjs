import { createRequire } from 'node:module';
import { Agenda } from 'agenda';
import { Job, Queue, Worker } from 'bullmq';
import cron, { createTask } from 'node-cron';
import { finish } from './finish.mjs';

const require = createRequire(import.meta.url);
await finish(
  { createTask, cron: require('node-cron'), Agenda, Job, Queue, Worker },
  {
    worker: require('bullmq').Worker === Worker,
    agenda: require('agenda').Agenda === Agenda,
    imported: cron.createTask === createTask,
  },
);
