import { type Action, type Command, CommandError, type Engine, type JsonObject } from '../engine.js';

const text = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined);

/** The engine a command names, directly or in its target or filter. */
export function namedEngine(parameters: JsonObject, target: JsonObject): string | undefined {
  const filter = parameters.filter as JsonObject | undefined;
  return text(parameters.engine) ?? text(target.engine) ?? text(filter?.engine);
}

const names = (engines: readonly Engine[]): string => engines.map((engine) => engine.name).join(', ');

function only(found: readonly Engine[], what: string): Engine | undefined {
  if (found.length > 1)
    throw new CommandError('refused', `${what} is known to several engines: ${names(found)}; say which`);
  return found[0];
}

/**
 * The engine of this process that a command is for, by its name or, where it carries none, by the queue, task or
 * worker it names; undefined when this process has none. Throws a `CommandError` when several fit.
 */
export function resolveEngine(
  engines: readonly Engine[],
  name: string | undefined,
  { action, parameters }: Pick<Command, 'action' | 'parameters'>,
): Engine | undefined {
  const worker = text(parameters.worker_name);
  const candidates = name === undefined ? engines : engines.filter((engine) => engine.name === name);
  if (worker !== undefined) {
    return only(
      candidates.filter((engine) => engine.inventory().workers.includes(worker)),
      `worker ${worker}`,
    );
  }
  if (name !== undefined) return candidates[0];
  const queue = text(parameters.queue);
  const byQueue = queue === undefined ? [] : candidates.filter((engine) => engine.inventory().queues.includes(queue));
  if (action === 'purge_queue' && queue !== undefined) return only(byQueue, `queue ${queue}`);
  const task = text(parameters.task_name);
  if (task !== undefined) {
    const byTask = candidates.filter((engine) => {
      const { tasks, queues } = engine.inventory();
      return tasks.includes(task) || queues.includes(task);
    });
    if (byTask.length > 0) return only(byTask, `task ${task}`);
  }
  if (byQueue.length > 0) return only(byQueue, `queue ${queue}`);
  return engines.length === 1 ? engines[0] : undefined;
}

/** Throws a `CommandError` that says what could have been done instead. */
export function checkAction(engine: Engine, action: Action): void {
  if (engine.execute !== undefined && engine.actions().includes(action)) return;
  const version = engine.version === undefined ? '' : ` ${engine.version}`;
  throw new CommandError(
    'unsupported',
    `${engine.name}${version} cannot ${action}; it can ${engine.actions().join(', ') || 'nothing'}`,
  );
}

/** Why nobody on this host can act. */
export function noEngine(engines: readonly Engine[], name: string | undefined, parameters: JsonObject): CommandError {
  const worker = text(parameters.worker_name);
  const queue = text(parameters.queue);
  const here = engines.length === 0 ? 'none is loaded here' : `here: ${names(engines)}`;
  if (worker !== undefined) {
    return new CommandError(
      'not_found',
      `worker ${worker} lives in another process of this token, on another host; give each host a token of its own to command its workers`,
    );
  }
  if (name !== undefined) return new CommandError('not_found', `no engine ${name} in this process (${here})`);
  if (queue !== undefined)
    return new CommandError('not_found', `no engine of this process knows queue ${queue} (${here})`);
  return new CommandError('not_found', `the command names no engine (${here})`);
}
