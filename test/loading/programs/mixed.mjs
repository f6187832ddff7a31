import { finish } from './finish.mjs';
import { bullmq, cron } from './inner.cjs';

await finish({ createTask: cron.createTask, cron, ...bullmq });
