export type LogLevel = 'error' | 'warn' | 'info' | 'debug';

/** The agent's own lines, on stderr and nowhere else. */
export interface Log {
  error(message: string): void;
  warn(message: string): void;
  info(message: string): void;
  debug(message: string): void;
  /** At most one line about `cause` until `over(cause)`. Returns whether it was the first. */
  once(cause: string, level: LogLevel, message: string): boolean;
  /** The cause is gone. Returns whether it had been told; then the next `once` speaks again. */
  over(cause: string): boolean;
}

export interface LogOptions {
  /** Default `warn`. */
  readonly level?: LogLevel | 'silent';
  /** Default `text`: `z4j: warn: …`. `json`: one object a line with `time`, `level`, `name`, `message`. */
  readonly format?: 'text' | 'json';
  /** Default: process.stderr. */
  readonly write?: (line: string) => void;
}

const RANK = { silent: 0, error: 1, warn: 2, info: 3, debug: 4 } as const;

/** A host whose stderr is closed must not die of our line. */
function writeStderr(line: string): void {
  try {
    process.stderr.write(line);
  } catch {
    // Nowhere left to say it.
  }
}

export function createLog({ level = 'warn', format = 'text', write = writeStderr }: LogOptions = {}): Log {
  const told = new Set<string>();
  const say = (at: LogLevel, message: string): void => {
    if (RANK[at] > RANK[level]) return;
    const text = message.replaceAll('\n', ' ');
    write(
      format === 'json'
        ? `${JSON.stringify({ time: new Date().toISOString(), level: at, name: 'z4j', message: text })}\n`
        : `z4j: ${at}: ${text}\n`,
    );
  };
  return {
    error: (message) => say('error', message),
    warn: (message) => say('warn', message),
    info: (message) => say('info', message),
    debug: (message) => say('debug', message),
    once(cause, at, message) {
      if (told.has(cause)) return false;
      told.add(cause);
      say(at, message);
      return true;
    },
    over: (cause) => told.delete(cause),
  };
}
