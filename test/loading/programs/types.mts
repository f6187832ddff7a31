import { Agenda } from 'agenda';
import { Job, Queue, Worker } from 'bullmq';
import cron, { createTask } from 'node-cron';
// @ts-expect-error: plain JavaScript
import { finish } from './finish.mjs';

const same: boolean = cron.createTask === createTask;
await finish({ createTask, cron, Agenda, Job, Queue, Worker }, { same });
