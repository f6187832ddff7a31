import { createRequire } from 'node:module';
import { TARGETS } from './targets.js';

type Plugins = { readonly [name: string]: new () => unknown };

/**
 * Opens the other two eyes, require-in-the-middle and import-in-the-middle, through the OpenTelemetry plug-ins. They
 * see nothing that the compile observer and the appended calls miss, and cost 30 ms: so only when somebody has
 * replaced the compiler in front of the observer. import-in-the-middle's own loader is never registered: two copies of
 * it exclude each other. Both fire only where they can.
 */
export function openOtherEyes(): void {
  const require = createRequire(import.meta.url);
  // Under a loader that supplies the source of CommonJS files there is no cache, and require-in-the-middle dies of it.
  if (require.cache === undefined) return;
  const plugins = new Map(TARGETS.map(({ engine, instrumentation }) => [engine, instrumentation]));
  for (const [engine, name] of plugins) {
    const { [name]: Instrumentation } = require(`../../instrumentations/${engine}/index.js`) as Plugins;
    if (Instrumentation !== undefined) new Instrumentation();
  }
}
