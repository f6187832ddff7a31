import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Schedule, TaskEvent } from '../../../src/engine.js';
import { runChild } from '../../support/child.js';
import { type Dependencies, installTarget } from '../../support/targets.mjs';

const PRELOAD = pathToFileURL(fileURLToPath(new URL('./preload.mjs', import.meta.url))).href;

export const VERSIONS = ['2.0.3', '3.0.3', '4.0.0', '4.0.7', '4.2.1', '4.3.0', '4.4.1', '4.5.0', '4.6.0'] as const;
export type Style = 'cjs' | 'default' | 'named' | 'star';

export const targetOf = (version: string, beside: Dependencies = {}): Promise<string> =>
  installTarget([`node-cron-${version}`, ...Object.keys(beside).map((name) => name.replace(/\W+/g, '-'))].join('-'), {
    'node-cron': version,
    ...beside,
  });

/** `true` when `version` is at least `from`. */
export const since = (version: string, from: string): boolean =>
  version.localeCompare(from, 'en', { numeric: true }) >= 0;

/** How a host gets at `cron`, an object with `schedule` and what else there is. */
export function header(version: string, style: Style): string {
  switch (style) {
    case 'cjs':
      return `const cron = require('node-cron');`;
    case 'default':
      return since(version, '4.0.1') && !since(version, '4.3.0')
        ? `import all from 'node-cron'; const cron = all.default;`
        : version === '4.0.0'
          ? `import all from 'node-cron'; const cron = all.default ?? all;`
          : `import cron from 'node-cron';`;
    case 'named':
      return since(version, '4.0.1')
        ? `import { schedule, createTask } from 'node-cron'; const cron = { schedule, createTask };`
        : `import { schedule } from 'node-cron'; const cron = { schedule };`;
    case 'star':
      return since(version, '4.0.1') || (since('3.9', version) && version !== '2.0.3')
        ? `import * as cron from 'node-cron';`
        : `import * as all from 'node-cron'; const cron = all.default.default ?? all.default;`;
  }
}

export interface Seen {
  readonly events: readonly TaskEvent[];
  /** Kinds of the events of each run of a schedule, without the prefix, in order. */
  runs(schedule: string): string[][];
  rows(label: string): readonly Schedule[];
  readonly values: readonly Record<string, unknown>[];
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number | null;
}

export function read(stdout: string): Omit<Seen, 'stderr' | 'code'> {
  const lines = stdout
    .split('\n')
    .filter((line) => line.startsWith('@z4j '))
    .map((line) => JSON.parse(line.slice(5)) as Record<string, unknown>);
  const events = lines.flatMap(({ event }) => (event === undefined ? [] : [event as TaskEvent]));
  return {
    events,
    stdout,
    values: lines.filter((line) => !('event' in line)),
    rows(label) {
      const found = lines.find(({ rows }) => (rows as { label?: string } | undefined)?.label === label);
      if (found === undefined) throw new Error(`no rows ${label} in\n${stdout}`);
      return (found.rows as { list: Schedule[] }).list;
    },
    runs(schedule) {
      const byRun = new Map<string, string[]>();
      for (const { taskId, kind, data } of events) {
        if (data.schedule !== schedule || kind.startsWith('schedule.')) continue;
        byRun.set(taskId, [...(byRun.get(taskId) ?? []), kind.slice('task.'.length)]);
      }
      return [...byRun.values()];
    },
  };
}

export interface Host {
  readonly version: string;
  readonly style: Style;
  readonly body: string;
  /** Other packages of the host. */
  readonly beside?: Dependencies;
  readonly node?: string;
  readonly timeout?: number;
}

/** A zone where it is noon: 4.0.0 throws at every plan in the first hour of its zone's day. */
function noon(): string {
  const east = 12 - new Date().getUTCHours();
  return `Etc/GMT${east > 0 ? '-' : '+'}${Math.abs(east)}`;
}

/** Runs a host to its end, at noon of its time. */
export async function runHost({ version, style, body, timeout = 90_000, ...rest }: Host): Promise<Seen> {
  const source = `${header(version, style)}\n(async () => {\n${body}\n})();\n`;
  await using child = await runChild({
    target: await targetOf(version, rest.beside),
    program: { source, name: style === 'cjs' ? 'host.cjs' : 'host.mjs' },
    register: false,
    nodeArgs: ['--import', PRELOAD],
    env: { TZ: noon() },
    ...(rest.node === undefined ? {} : { node: rest.node }),
  });
  const { code } = await child.ended(timeout);
  // What it printed may still be in the pipe.
  await child.printed('"end":true', 2000).catch(() => {});
  return { ...read(child.stdout()), stderr: child.stderr(), code };
}
