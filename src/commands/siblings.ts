import { CommandError, type JsonObject, type JsonValue } from '../engine.js';
import type { CommandResult, CommandRouter, ReceivedCommand, Siblings } from './router.js';

/** Messages between the agents of one host. */
export interface SiblingPort {
  siblings(): readonly number[];
  send(slot: number, message: JsonValue, timeoutMs: number): Promise<JsonValue>;
}

const ASK_MS = 2000;

/** Hands a command to the one sibling of this host that has what it is for. */
export function siblingsOf(port: SiblingPort): Siblings {
  return {
    async ask(command) {
      const question = { ask: 'can', command: command as unknown as JsonObject };
      for (const slot of port.siblings()) {
        const can = await port.send(slot, question, ASK_MS).catch(() => false);
        if (can !== true) continue;
        // What becomes of it when it does not answer any more nobody knows: it is not given to a second one.
        try {
          const answer = await port.send(slot, { ...question, ask: 'command' }, command.timeoutSeconds * 1000);
          if (answer !== null) return answer as unknown as CommandResult;
        } catch (cause) {
          throw new CommandError('indeterminate', `the process of slot ${slot} took this over and did not answer`, {
            cause,
          });
        }
      }
      return undefined;
    },
  };
}

/** Answers what a sibling asks; undefined when it is not about commands. */
export async function answerSibling(message: JsonValue, router: CommandRouter): Promise<JsonValue | undefined> {
  const { ask, command } = (message ?? {}) as { ask?: unknown; command?: unknown };
  if (typeof command !== 'object' || command === null) return undefined;
  if (ask === 'can') return router.canAct(command as ReceivedCommand);
  if (ask === 'command') return ((await router.executeHere(command as ReceivedCommand)) ?? null) as JsonValue;
  return undefined;
}
