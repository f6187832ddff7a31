import bullmq = require('bullmq');
import cron = require('node-cron');

const { Job, Queue, Worker } = bullmq;
const createTask: unknown = cron.createTask;
import('./finish.mjs' as string).then(({ finish }) => finish({ createTask, cron, Job, Queue, Worker }));
