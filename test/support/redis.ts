import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './net.js';
import { type Server, startServer } from './server.js';

export interface Redis {
  readonly host: '127.0.0.1';
  readonly port: number;
  readonly url: string;
  readonly pid: number;
  /** SIGSTOP and SIGCONT make it hang and go on. */
  signal(signal: NodeJS.Signals): void;
  /** Ends it; its data is gone. Idempotent. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/** A private Redis without persistence on a free port of the loopback interface; it ends with this process. */
export async function startRedis(
  options: { readonly port?: number; readonly args?: readonly string[] } = {},
): Promise<Redis> {
  const folder = await mkdtemp(join(tmpdir(), 'z4j-redis-'));
  const start = async (attempts: number): Promise<{ port: number; server: Server }> => {
    const port = options.port ?? (await freePort());
    const settings = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', folder];
    settings.push('--maxmemory-policy', 'noeviction', ...(options.args ?? []));
    try {
      return { port, server: await startServer('redis-server', settings, { ready: /Ready to accept connections/ }) };
    } catch (error) {
      if (attempts > 1 && /Address already in use/.test(String(error))) return start(attempts - 1);
      throw error;
    }
  };
  const { port, server } = await start(3).catch(async (error: unknown) => {
    await rm(folder, { recursive: true, force: true });
    throw error;
  });
  return {
    host: '127.0.0.1',
    port,
    url: `redis://127.0.0.1:${port}`,
    pid: server.pid,
    signal: server.signal,
    async stop(signal = 'SIGKILL') {
      await server.stop(signal);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
