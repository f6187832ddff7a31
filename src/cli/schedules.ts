import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { readConfiguration } from '../config.js';
import { readSmallFile, replaceFile } from '../journal/disk.js';
import { type Decisions, forget, readDecisions } from '../schedules/overrides.js';
import type { CliOptions } from './options.js';

/** What operators decided about the schedules of one engine of one agent of this host. */
interface Kept {
  readonly agent: string;
  readonly engine: string;
  readonly path: string;
  readonly decisions: Decisions;
}

const MAX_BYTES = 4 << 20;
const FILE = /^overrides%3A(.+)\.json$/;

function folders(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function kept(home: string): Kept[] {
  return folders(home).flatMap((agent) =>
    folders(join(home, agent, 'shared')).flatMap((file) => {
      const engine = FILE.exec(file)?.[1];
      if (engine === undefined) return [];
      const path = join(home, agent, 'shared', file);
      const decisions = readDecisions(readSmallFile(path, MAX_BYTES)?.toString());
      return [{ agent, engine: decodeURIComponent(engine), path, decisions }];
    }),
  );
}

const rowsOf = ({ agent, engine, decisions }: Kept) => [
  ...Object.entries(decisions.overrides).map(([name, { set, code, at }]) => ({ agent, engine, name, set, code, at })),
  ...Object.entries(decisions.created).map(([name, { definition, at }]) => ({
    agent,
    engine,
    name,
    created: definition,
    at,
  })),
];

function describe(row: ReturnType<typeof rowsOf>[number]): string {
  if ('created' in row) return `created: ${JSON.stringify(row.created)}`;
  const { set, code } = row;
  if (set.deleted) return 'deleted';
  const said = code as { readonly [key: string]: unknown };
  return Object.entries(set)
    .map(
      ([key, value]) => `${key} ${JSON.stringify(value)}${key in said ? ` (code: ${JSON.stringify(said[key])})` : ''}`,
    )
    .join(', ');
}

function reset(found: readonly Kept[], names: readonly string[]): number {
  const unknown = new Set(names);
  for (const each of found) {
    let { decisions } = each;
    for (const name of names) {
      const next = forget(decisions, name);
      if (next === undefined) continue;
      const wasDeleted = decisions.overrides[name]?.set.deleted === true;
      decisions = next;
      unknown.delete(name);
      process.stdout.write(
        `${each.engine} ${name}: ${wasDeleted ? 'back at the next start of its process' : 'as its code says, within seconds'}\n`,
      );
    }
    if (decisions !== each.decisions) replaceFile(each.path, JSON.stringify(decisions));
  }
  for (const name of unknown) process.stderr.write(`Nothing was changed about a schedule ${name} on this host\n`);
  return unknown.size === 0 ? 0 : 1;
}

/**
 * Lists what operators changed about schedules that code defines (kept under `Z4J_HOME`), or takes it back:
 * `reset <name> …`. Resolves with the exit code.
 */
export async function schedules({ json }: CliOptions, [verb, ...names]: readonly string[]): Promise<number> {
  const found = kept(readConfiguration().settings.home);
  if (verb === 'reset' && names.length > 0) return reset(found, names);
  if (verb !== undefined) {
    process.stderr.write('Usage: z4j-bare schedules [reset <name> …] [--json]\n');
    return 2;
  }
  const rows = found.flatMap(rowsOf);
  if (json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  else if (rows.length === 0) process.stdout.write('Every schedule on this host is as its code says.\n');
  else for (const row of rows) process.stdout.write(`${row.engine} ${row.name}: ${describe(row)}, since ${row.at}\n`);
  return 0;
}
