/** Something an operator should know; each cause once, and its end once. */
export interface JournalProblem {
  /** Code of the operating system's error (`ENOSPC`, `EIO` …), `removed`, `damaged`, `full` or `old`. */
  readonly cause: string;
  readonly path: string;
  /** One sentence: what happened and what becomes of the events. */
  readonly message: string;
  /** `degraded`: kept in memory from now on; `recovered`: on disk again; `noted`: over already. */
  readonly state: 'degraded' | 'recovered' | 'noted';
}

export interface JournalOptions {
  /** Folder of the slot; made when missing. Nobody else may use it. */
  readonly dir: string;
  /** Limit of all segments together; beyond it the oldest goes, its records counted as lost. At least 64 KiB. */
  readonly maxBytes: number;
  /** Segments whose last record is older go too. Default: no limit. */
  readonly maxAgeMs?: number | undefined;
  /**
   * True: every write waits for the disk. False (default): what was written survives the death of the process, and
   * only a power cut or a crash of the machine may take the last seconds.
   */
  readonly fsync?: boolean | undefined;
  /** Limit of what is kept in memory while the disk cannot be written. Default 16 MiB. */
  readonly memoryBytes?: number | undefined;
  /**
   * Writes per second that may happen at once instead of at the end of the turn, so that another thread sees an event
   * before the host blocks its own. Default 0.
   */
  readonly eagerWrites?: number | undefined;
  readonly onProblem?: ((problem: JournalProblem) => void) | undefined;
}
