/** What has to happen before a process ends. */
export interface Leaving {
  /** Sends what was captured, says goodbye; resolves within the time. */
  leave(timeoutMs: number): Promise<void>;
  /** Sends what was captured and stays. */
  flush(timeoutMs: number): Promise<unknown>;
  /** Puts what is still in memory on disk, synchronously. */
  write(): void;
}

const SIGNALS = ['SIGTERM', 'SIGINT'] as const;
/** Longest time by which the agent delays the end of a process, in milliseconds. */
export const LEAVE_MS = 2000;

/**
 * Sends what was captured when the process ends by itself or by a signal, without changing whether, how or with which
 * code it ends; nothing delays a `process.exit()`. A host with signal handlers of its own is only helped to be heard:
 * it goes on working until it ends by itself. Returns what undoes it.
 */
export function leaveWithProcess(agent: Leaving): () => void {
  let leaving: Promise<void> | undefined;
  const leave = (): Promise<void> => {
    leaving ??= agent.leave(LEAVE_MS).catch(() => undefined);
    return leaving;
  };
  const onBeforeExit = (): void => {
    if (leaving === undefined) void leave();
  };
  const onExit = (): void => agent.write();
  const onSignal = (signal: NodeJS.Signals): void => {
    if (process.listenerCount(signal) > 1) {
      agent.flush(LEAVE_MS).catch(() => undefined);
      return;
    }
    void leave().then(() => {
      process.off(signal, onSignal);
      // The host may have taken the signal over while we were leaving; then its end is its own affair.
      if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
    });
  };
  process.on('beforeExit', onBeforeExit);
  process.on('exit', onExit);
  for (const signal of SIGNALS) process.on(signal, onSignal);
  return () => {
    process.off('beforeExit', onBeforeExit);
    process.off('exit', onExit);
    for (const signal of SIGNALS) process.off(signal, onSignal);
  };
}
