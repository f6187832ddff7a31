import { Agenda } from 'agenda';
import { Job, Queue, Worker } from 'bullmq';
import cron, { createTask } from 'node-cron';
import { finish } from './finish.mjs';

await finish({ createTask, cron, Agenda, Job, Queue, Worker }, { same: cron.createTask === createTask });
