'use strict';
// What operators do to the schedules of BullMQ; see commands.cjs.

const scenarios = {
  async schedules(t) {
    let runs = 0;
    t.worker(async () => ++runs);
    const queue = t.queue();
    await queue.upsertJobScheduler('yearly', { pattern: '0 0 1 1 *', tz: 'UTC' }, { name: 'tick', data: { n: 1 } });
    const { scheduler } = globalThis.engines.get('bullmq');
    const mine = async () =>
      (await scheduler.list())
        .filter(({ name }) => name.startsWith(`${t.q}:`))
        .map(({ name, expression, kind, enabled, nextRunAt }) => ({
          name,
          expression,
          kind,
          enabled,
          next: nextRunAt !== undefined,
        }));
    const name = `${t.q}:yearly`;
    let changes = 0;
    scheduler.onChange(() => {
      changes += 1;
    });
    const first = await mine();
    const { task_id } = await scheduler.trigger(name);
    await t.until(() => runs === 1, 'the triggered run');
    const kept = await mine();
    await scheduler.update(name, { enabled: false });
    const disabled = await mine();
    const native = (await queue.getJobSchedulers(0, -1)).length;
    await scheduler.update(name, { enabled: true });
    await scheduler.update(name, { expression: '0 0 2 1 *' });
    const updated = await mine();
    const [{ template }] = await queue.getJobSchedulers(0, -1);
    const created = await scheduler.create({
      name: `${t.q}:hourly`,
      taskName: 'hour',
      kind: 'interval',
      expression: '3600',
      args: [{ h: 1 }],
      kwargs: {},
    });
    const both = (await mine()).length;
    await scheduler.delete(`${t.q}:hourly`);
    const badName = await scheduler.create({ name: 'x', taskName: 'y' }).catch(({ code }) => code);
    const missing = await scheduler.delete(`${t.q}:nothing`).catch(({ code }) => code);
    const memory = scheduler.memory('owner');
    const before = await memory.load();
    await memory.save('text');
    const left = (await mine()).length;
    await queue.upsertJobScheduler('local', { pattern: '0 3 * * *' }, { name: 'tick' });
    const local = (await scheduler.list()).find((row) => row.name === `${t.q}:local`);
    return {
      first,
      triggered: task_id.startsWith(`${t.q}:`),
      same: JSON.stringify(kept) === JSON.stringify(first),
      disabled,
      native,
      updated,
      data: template?.data,
      created,
      both,
      left,
      badName,
      missing,
      memory: [before, await memory.load()],
      changes: changes > 0,
      local: { timezone: local.timezone, hour: new Date(local.nextRunAt).getHours() },
    };
  },
};

module.exports = { scenarios };
