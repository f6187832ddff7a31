import { readdirSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { readConfiguration } from '../config.js';
import { listSlots, sendToSlot, slotFolder, slotOwner } from '../journal/slots.js';
import type { CliOptions } from './options.js';

interface SlotStatus {
  readonly agent: string;
  readonly slot: number;
  readonly pid: number | null;
  readonly host: string | null;
  readonly since: string | null;
  /** It ended without leaving its slot: the next process takes that, with what it holds. */
  readonly gone: boolean;
  readonly journalBytes: number;
  /** What the process says of itself; null when it does not answer. */
  readonly status: unknown;
}

async function folderBytes(dir: string): Promise<number> {
  const sizes = readdirSync(dir, { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(async ({ name }) => (await stat(join(dir, name))).size);
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

/** Where it cannot be known, it is not. */
function isGone(pid: number, host: string): boolean {
  if (host !== hostname()) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

async function slotStatus(home: string, agent: string, slot: number): Promise<SlotStatus> {
  const owner = slotOwner(home, agent, slot);
  const status = await sendToSlot(home, agent, slot, { ask: 'status' }, { timeoutMs: 2000 }).catch(() => null);
  return {
    agent,
    slot,
    pid: owner?.pid ?? null,
    host: owner?.host ?? null,
    since: owner === undefined ? null : new Date(owner.since).toISOString(),
    gone: status === null && owner !== undefined && isGone(owner.pid, owner.host),
    journalBytes: await folderBytes(slotFolder(home, agent, slot)),
    status,
  };
}

function line({ agent, slot, pid, host, since, gone, journalBytes, status }: SlotStatus): string {
  const free = pid === null || gone;
  const who = pid === null ? 'free' : gone ? `free, left by pid ${pid}` : `pid ${pid} on ${host} since ${since}`;
  const link = (status as { link?: { state?: string } } | null)?.link?.state ?? (free ? '-' : 'no answer');
  const records = (status as { journal?: { records?: number } } | null)?.journal?.records;
  const waiting = records === undefined ? `${journalBytes} bytes on disk` : `${records} events wait`;
  return `${agent}  slot ${slot}  ${who}  ${link}  ${waiting}\n`;
}

/** Lists the agents of this host with what they hold. */
export async function status({ json }: CliOptions): Promise<number> {
  const { home } = readConfiguration().settings;
  let agents: string[] = [];
  try {
    agents = readdirSync(home, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch {
    // No home: no agent has run here.
  }
  const slots = await Promise.all(
    agents.flatMap((agent) => listSlots(home, agent).map((slot) => slotStatus(home, agent, slot))),
  );
  if (json) process.stdout.write(`${JSON.stringify({ home, slots }, null, 2)}\n`);
  else if (slots.length === 0) process.stdout.write(`No agent has run with its home in ${home}\n`);
  else for (const slot of slots) process.stdout.write(line(slot));
  return 0;
}
