const { Job, Queue, Worker } = require('bullmq');
const cron = require('node-cron');

import('./finish.mjs').then(({ finish }) => finish({ createTask: cron.createTask, cron, Job, Queue, Worker }));
