/** An engine that has a queue and a task and answers commands with nothing. */
export const engine = {
  name: 'bullmq',
  version: '5.0.0',
  actions: () => ['cancel_task'],
  inventory: () => ({ queues: ['mail'], tasks: ['send'], workers: [] }),
  start() {},
  stop() {},
  execute: async () => ({}),
};
