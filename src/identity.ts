import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import type { Environment, Settings } from './config.js';

/** Who this process is to the brain; every name is made of what survives a restart. */
export interface Identity {
  /** Label of host and workers. */
  readonly agentName: string;
  /** What the application is, the same for every replica. */
  readonly service: string;
  readonly slot: number;
  /** Key of this connection at the brain. */
  readonly workerId: string;
  workerName(queue: string): string;
  schedulerName(engine: string): string;
}

const hash = (text: string, length: number): string => createHash('sha256').update(text).digest('hex').slice(0, length);

/** Cut to `max` characters; what does not fit is replaced by a hash of the whole, so names stay distinct. */
export function shorten(name: string, max: number): string {
  return name.length <= max ? name : `${name.slice(0, max - 9)}-${hash(name, 8)}`;
}

/** Only what is safe in a file name, in a heartbeat key and for the brain's redaction. */
const clean = (name: string): string => name.replaceAll(/[^A-Za-z0-9_-]+/g, '-').replaceAll(/^-+|-+$/g, '');

/** The `name` of the nearest package.json from `folder` up. */
function packageName(folder: string): string | undefined {
  for (let at = folder; ; at = dirname(at)) {
    try {
      const { name } = JSON.parse(readFileSync(join(at, 'package.json'), 'utf8')) as { name?: unknown };
      if (typeof name === 'string' && name !== '') return name.replace(/^@[^/]*\//, '');
    } catch {
      // No readable package.json here: one folder up.
    }
    if (dirname(at) === at) return undefined;
  }
}

export function agentNameOf(settings: Settings): string {
  const label = (settings.agentName || hostname()).split('.', 1)[0] ?? '';
  return shorten(clean(label) || 'node', 60);
}

export function serviceNameOf(settings: Settings, env: Environment = process.env): string {
  const main = env.pm_exec_path ?? process.argv[1];
  const name =
    settings.serviceName ||
    env.OTEL_SERVICE_NAME ||
    (main === undefined || main.includes('node_modules') ? undefined : packageName(dirname(main))) ||
    packageName(process.cwd()) ||
    'app';
  return clean(name) || 'app';
}

/**
 * Folder of the agent's slots under `home`: events in it belong to one project of one brain, so a token minted anew
 * goes on with what the old one could not send, and two applications on a host do not share a folder.
 */
export function agentFolder(settings: Settings, env?: Environment): string {
  const owner = JSON.stringify([settings.brainUrl, settings.projectId, serviceNameOf(settings, env)]);
  return `${agentNameOf(settings)}-${hash(owner, 8)}`;
}

/** Names of workers that are remembered; every event of a run asks for one. */
const MAX_NAMES = 1000;

export function identityOf(settings: Settings, slot: number, env?: Environment): Identity {
  const agentName = agentNameOf(settings);
  const service = serviceNameOf(settings, env);
  const own = slot === 0 ? agentName : `${agentName}-${slot}`;
  const names = new Map<string, string>();
  return {
    agentName,
    service,
    slot,
    workerId: shorten(`${service}-${agentName}-${slot}`, 120),
    workerName(queue) {
      let name = names.get(queue);
      if (name === undefined) {
        name = shorten(queue === '' ? own : `${own}:${queue.replaceAll('@', '-')}`, 200);
        if (names.size >= MAX_NAMES) names.clear();
        names.set(queue, name);
      }
      return name;
    },
    schedulerName: (engine) => shorten(`${service}-${engine}`, 40),
  };
}
