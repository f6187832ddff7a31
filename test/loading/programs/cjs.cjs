const { Job, Queue, Worker } = require('bullmq');
const cron = require('node-cron');
const { Agenda } = require('agenda');

const { createTask } = cron;
import('./finish.mjs').then(({ finish }) => finish({ createTask, cron, Agenda, Job, Queue, Worker }));
