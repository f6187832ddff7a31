import type { LogLevel } from '../log.js';
import { type CloseReaction, closeCode } from '../protocol/index.js';
import type { SessionEnd } from './session.js';

export interface Advice {
  /** What is told once. */
  readonly cause: string;
  /** Undefined: not worth a line. */
  readonly level: LogLevel | undefined;
  readonly message: string;
}

export interface AdviceContext {
  readonly shown: string;
  readonly skewMs: number | undefined;
  readonly reaction: CloseReaction;
}

/** Beyond 60 s a brain refuses every frame. */
export const FATAL_SKEW_MS = 55_000;

/** Skew worth a line, in milliseconds. */
const SKEW_MS = 5000;

/** One line about clocks that differ; undefined when they agree, or so much that a refusal will tell it. */
export function skewAdvice(skewMs: number): string | undefined {
  const size = Math.abs(skewMs);
  if (size <= SKEW_MS || size >= FATAL_SKEW_MS) return undefined;
  return `the clock of this host is ${skewText(skewMs)} the brain's: from 60 s on the brain refuses every frame; synchronise the clocks (NTP)`;
}

function skewText(skewMs: number): string {
  return `${Math.round(Math.abs(skewMs) / 1000)} s ${skewMs > 0 ? 'behind' : 'ahead of'}`;
}

const KEPT = 'events are kept and sent when it is back';
/** Revoked first, unknown ever after. */
const TOKEN = 'link.token';

/** One line about the end of a connection: what is wrong, and what to do. */
export function advice(end: SessionEnd, { shown, skewMs = 0, reaction }: AdviceContext): Advice {
  const { code, error } = end;
  const warn = (message: string, cause = `link.${code}`): Advice => ({ cause, level: 'warn', message });
  if (error !== undefined) {
    const { message } = error;
    const tls = /certificate|self.signed|CERT_|altname/i.test(message);
    const remedy =
      error.code === 'upgrade'
        ? 'check Z4J_BRAIN_URL; a proxy on the way may not pass WebSocket, see Z4J_TRANSPORT'
        : tls
          ? 'if its certificate is signed by an authority of your own, name that in NODE_EXTRA_CA_CERTS or SSL_CERT_FILE'
          : 'check Z4J_BRAIN_URL, the network and HTTPS_PROXY';
    return {
      cause: 'link.unreachable',
      level: 'warn',
      message: `no connection to the brain at ${shown}: ${message}; ${remedy}; ${KEPT}`,
    };
  }
  switch (code) {
    case 4401:
      return warn(
        `the brain at ${shown} does not know the token: check Z4J_TOKEN, or mint a new agent in the dashboard; its project may be archived; ${KEPT.replace('it is back', 'it does')}`,
        TOKEN,
      );
    case 4003:
      return warn(
        'the brain revoked the token or archived the project: mint a new agent in the dashboard; events are kept and sent with its token',
        TOKEN,
      );
    case 4403: {
      if (reaction !== 'auth') {
        return {
          cause: 'link.4403.frame',
          level: 'debug',
          message: 'a frame came too late or was printed in another way',
        };
      }
      if (Math.abs(skewMs) >= FATAL_SKEW_MS) {
        return warn(
          `the brain refuses our frames because the clock of this host is ${skewText(skewMs)} its own: synchronise the clocks (NTP)`,
        );
      }
      return warn(
        `the brain refuses our signature: Z4J_HMAC_SECRET is not the secret of this project (the clocks agree); copy it again from the page of the agent. It may also refuse the address of this host`,
      );
    }
    case 4426:
    case 4427:
      return warn(`the brain at ${shown} speaks another version of the protocol: update @z4j/bare or the brain`);
    case 4429:
      return warn(
        'the brain refuses more connections: at most 64 processes share one token, at most 600 connects a minute come from one address',
      );
    case 4002:
      return { cause: 'link.4002', level: 'debug', message: 'another process connected under our worker id' };
    case 4400:
      return warn('the brain refused what was sent as malformed or too large; it is sent again in smaller parts');
    default:
      return {
        cause: 'link.unreachable',
        level: 'warn',
        message: `the connection to the brain at ${shown} ended (${code}: ${closeCode(code).meaning}); ${KEPT}`,
      };
  }
}
