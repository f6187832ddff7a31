/** Why a place in the home cannot be used. */
export type JournalErrorCode =
  /** The folder cannot be made, read or written. */
  | 'unwritable'
  /** Something else is where a folder or file of ours has to be: a symbolic link, another user's folder. */
  | 'unsafe'
  /** No lock could be had. */
  | 'lock'
  /** A message between slots could not be delivered, or is too large. */
  | 'message';

/** `path` and `reason` are fit for one line of log; `cause` is the error of the operating system, if any. */
export class JournalError extends Error {
  override readonly name = 'JournalError';
  readonly code: JournalErrorCode;
  readonly path: string;
  readonly reason: string;
  constructor(code: JournalErrorCode, path: string, reason: string, options?: ErrorOptions) {
    super(`${path}: ${reason}`, options);
    this.code = code;
    this.path = path;
    this.reason = reason;
  }
}

/** `ENOSPC`, `EROFS` …; `unknown` for what is not an error of the operating system. */
export function errnoOf(error: unknown): string {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  return typeof code === 'string' ? code : 'unknown';
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  ENOTDIR: 'a part of the path is not a folder',
  EIO: 'the disk does not answer (I/O error)',
  EMFILE: 'too many open files in this process',
  ENFILE: 'too many open files on this machine',
};

/** One short phrase for an operator. */
export function reasonOf(error: unknown): string {
  const code = errnoOf(error);
  return REASONS[code] ?? (error instanceof Error ? error.message : String(error));
}
