import { Agent } from './agent.js';

/**
 * The agent of a process started with `--import @z4j/bare/register`: called at the first patched target, when the
 * environment is complete. Captures at once, connects after the first live engine.
 */
export function autostart(): void {
  const agent = new Agent();
  const complain = ({ message }: Error): void => agent.log.warn(`${message}. The agent does nothing`);
  agent.onFirstEngine = () => void agent.start().catch(complain);
  try {
    agent.listen();
  } catch (cause) {
    complain(cause as Error);
    return;
  }
  agent.leaveWithProcess();
}
