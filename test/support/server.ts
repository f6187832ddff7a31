import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

export interface ServerOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly uid?: number;
  readonly gid?: number;
  /** Signal for a gentle end; default SIGTERM. */
  readonly gentle?: NodeJS.Signals;
  /** Matches the output once the server can be used. */
  readonly ready: RegExp;
  /** Milliseconds; default 30 000. */
  readonly timeout?: number;
}

export interface Server {
  /** Process id of the server itself. */
  readonly pid: number;
  /** All that it printed so far. */
  output(): string;
  signal(signal: NodeJS.Signals): void;
  /** Gentle end, or with SIGKILL at once; resolves when the process is gone. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/**
 * The shell between us and the server holds our pipe as its standard input: when this process ends, in whatever
 * way, the pipe closes and the shell ends the server.
 */
const GUARD = `
signal=$1; shift
"$@" </dev/null 3>&- 4<&- & server=$!
echo "$server" >&3
(read -r _ <&4; kill -s "$signal" "$server") 2>/dev/null & watcher=$!
exec 3>&- 4<&-
wait "$server"; code=$?
kill "$watcher" 2>/dev/null
exit "$code"
`;

/** Starts a server that dies with this process; rejects with its output when it does not become ready. */
export async function startServer(command: string, args: readonly string[], options: ServerOptions): Promise<Server> {
  const gentle = options.gentle ?? 'SIGTERM';
  const child = spawn('/bin/sh', ['-c', GUARD, 'guard', gentle.slice(3), command, ...args], {
    cwd: options.cwd,
    env: options.env ?? process.env,
    uid: options.uid,
    gid: options.gid,
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
    detached: true,
  });
  const exited = once(child, 'exit');
  let text = '';
  const closed = new Promise<never>((_, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${command} ended with ${code}:\n${text.slice(-4000)}`)));
  });
  closed.catch(() => {});
  const ready = new Promise<void>((resolve) => {
    const take = (chunk: Buffer): void => {
      text = (text + chunk.toString()).slice(-1_000_000);
      if (options.ready.test(text)) resolve();
    };
    child.stdout?.on('data', take);
    child.stderr?.on('data', take);
  });
  const pid = await Promise.race([firstNumber(child), closed]);
  const stop = async (signal: NodeJS.Signals = gentle): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) kill(pid, signal);
    await exited;
    // Its helpers, where a kill left it no time to end them: they are of the same process group.
    if (child.pid !== undefined) kill(-child.pid, 'SIGKILL');
  };
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const timeout = options.timeout ?? 30_000;
    timer = setTimeout(
      () => reject(new Error(`${command} is not ready after ${timeout} ms:\n${text.slice(-4000)}`)),
      timeout,
    );
  });
  try {
    await Promise.race([ready, closed, late]);
  } catch (error) {
    await stop('SIGKILL');
    throw error;
  } finally {
    clearTimeout(timer);
  }
  return { pid, output: () => text, signal: (signal) => kill(pid, signal), stop };
}

async function firstNumber(child: ChildProcess): Promise<number> {
  const pipe = child.stdio[3];
  if (!pipe) throw new Error('no pipe');
  const [chunk] = (await once(pipe, 'data')) as [Buffer];
  return Number(chunk.toString());
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It is gone already.
  }
}
