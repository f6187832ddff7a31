import { execFile, execFileSync } from 'node:child_process';
import { chown, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort } from './net.js';
import { postgresBin } from './provision.mjs';
import { startServer } from './server.js';

export interface Postgres {
  readonly host: '127.0.0.1';
  readonly port: number;
  readonly user: 'postgres';
  readonly url: string;
  readonly pid: number;
  signal(signal: NodeJS.Signals): void;
  /** Ends it and removes its data. Idempotent. */
  stop(): Promise<void>;
}

/** The server refuses to run as root: then it runs as `postgres`, or as `nobody` where there is no such user. */
function owner(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const id = (flag: string, user: string): number => Number(execFileSync('id', [flag, user], { stdio: 'pipe' }));
  for (const user of ['postgres', 'nobody']) {
    try {
      return { uid: id('-u', user), gid: id('-g', user) };
    } catch {
      // The next one.
    }
  }
  throw new Error('PostgreSQL does not run as root, and there is no user postgres or nobody');
}

/** A private PostgreSQL with trust authentication and no fsync on a free port; it ends with this process. */
export async function startPostgres(): Promise<Postgres> {
  const bin = postgresBin();
  if (bin === undefined) throw new Error('PostgreSQL is missing: run `node test/support/provision.mjs postgres`');
  const user = owner();
  const as = user ?? {};
  const folder = await mkdtemp(join(tmpdir(), 'z4j-pg-'));
  const data = join(folder, 'data');
  try {
    await mkdir(data, { mode: 0o700 });
    if (user) for (const path of [folder, data]) await chown(path, user.uid, user.gid);
    const env = { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC', HOME: folder };
    const initdb = ['-D', data, '-A', 'trust', '-U', 'postgres', '-E', 'UTF8', '--no-sync', '--no-instructions'];
    await promisify(execFile)(join(bin, 'initdb'), initdb, { ...as, env, cwd: folder });
    const port = await freePort();
    const settings = ['listen_addresses=127.0.0.1', 'fsync=off', 'full_page_writes=off', 'synchronous_commit=off'];
    const args = ['-D', data, '-p', `${port}`, '-k', folder, ...settings.flatMap((setting) => ['-c', setting])];
    const server = await startServer(join(bin, 'postgres'), args, {
      ...as,
      env,
      cwd: folder,
      gentle: 'SIGINT',
      ready: /database system is ready to accept connections/,
    });
    return {
      host: '127.0.0.1',
      port,
      user: 'postgres',
      url: `postgres://postgres@127.0.0.1:${port}/postgres`,
      pid: server.pid,
      signal: server.signal,
      async stop() {
        await server.stop();
        await rm(folder, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}
