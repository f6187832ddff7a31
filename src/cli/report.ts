/** One line of a diagnosis. */
export interface Finding {
  readonly outcome: 'ok' | 'note' | 'failed';
  readonly what: string;
  /** What was seen and, where it failed, what to do. */
  readonly detail: string;
}

const SIGN = { ok: 'ok    ', note: 'note  ', failed: 'FAILED' } as const;

/** Prints findings for a person or as JSON; returns the exit code: 1 when something failed. */
export function report(findings: readonly Finding[], json: boolean): number {
  if (json) process.stdout.write(`${JSON.stringify({ findings }, null, 2)}\n`);
  else for (const { outcome, what, detail } of findings) process.stdout.write(`${SIGN[outcome]}  ${what}: ${detail}\n`);
  return findings.some(({ outcome }) => outcome === 'failed') ? 1 : 0;
}
