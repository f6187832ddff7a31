/**
 * What to do after a close:
 *
 * - `connection`: connect again soon;
 * - `protocol`: the brain refused what was sent: split or drop the last frame, never send the same bytes again;
 * - `auth`: token, secret or clock are wrong, or the project is archived: an operator has to act;
 * - `incompatible`: the brain speaks another protocol;
 * - `replaced`: a twin connected under the same worker id: take another id or stay away;
 * - `done`: a normal end; connect again only if that is still wanted.
 */
export type CloseReaction = 'connection' | 'protocol' | 'auth' | 'incompatible' | 'replaced' | 'done';

export interface CloseCode {
  readonly meaning: string;
  readonly reaction: CloseReaction;
  /** Milliseconds before the first new attempt of this class; doubled each time up to `max`. */
  readonly first: number;
  readonly max: number;
}

/** Milliseconds; one counter per reaction, all reset by a completed handshake. Add up to 30 % jitter. */
export const BACKOFF: { readonly [reaction in CloseReaction]: { readonly first: number; readonly max: number } } = {
  connection: { first: 1_000, max: 30_000 },
  protocol: { first: 1_000, max: 60_000 },
  auth: { first: 10_000, max: 600_000 },
  incompatible: { first: 300_000, max: 3_600_000 },
  replaced: { first: 1_000, max: 60_000 },
  done: { first: 1_000, max: 30_000 },
};

function entry(reaction: CloseReaction, meaning: string): CloseCode {
  return { meaning, reaction, ...BACKOFF[reaction] };
}

/** Every close code a brain of 1.6.9 … 1.13 sends, and those of the network. */
export const CLOSE_CODES: { readonly [code: number]: CloseCode } = {
  1000: entry('done', 'the connection was closed normally'),
  1001: entry('connection', 'the brain went away'),
  1006: entry('connection', 'the connection broke'),
  1011: entry('connection', 'the brain failed, possibly over the frame sent last'),
  1012: entry('connection', 'the brain is restarting'),
  4002: entry('replaced', 'another process connected under the same worker id'),
  4003: entry('auth', 'the token was revoked or the project archived'),
  4400: entry('protocol', 'the brain refused the hello or a frame as malformed or too large'),
  4401: entry('auth', 'the token is unknown or revoked, or the project is archived'),
  4403: entry('auth', 'a signature was refused: wrong secret, clock off by more than 60 s, or address not allowed'),
  4408: entry('connection', 'the brain heard nothing for too long'),
  4426: entry('incompatible', 'the brain speaks another version of the protocol'),
  4427: entry('incompatible', 'the brain refuses this version of the agent'),
  4429: entry('connection', 'too many connections from this address or for this token'),
};

const UNKNOWN = entry('connection', 'the connection was closed for a reason this agent does not know');

/** The entry of a code; an unknown one is a broken connection. */
export function closeCode(code: number): CloseCode {
  return Object.hasOwn(CLOSE_CODES, code) ? (CLOSE_CODES[code] ?? UNKNOWN) : UNKNOWN;
}
