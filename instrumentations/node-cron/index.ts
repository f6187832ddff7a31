import { createRequire } from 'node:module';
import type { InstrumentationConfig, InstrumentationNodeModuleDefinition } from '@opentelemetry/instrumentation';
import { hub } from '../../src/engine.js';
import { VERSION } from '../../src/version.js';
import { nodeCronPatch } from './patch.js';

export { NodeCronEngine } from './operate.js';
export { nodeCronPatch } from './patch.js';

// A real require: a loader that supplies the source of CommonJS files would leave require-in-the-middle without a cache.
const otel = createRequire(import.meta.url)(
  '@opentelemetry/instrumentation',
) as typeof import('@opentelemetry/instrumentation');

/** node-cron 2–4 as an ordinary OpenTelemetry instrumentation. It makes events for z4j, no spans. */
export class NodeCronInstrumentation extends otel.InstrumentationBase {
  constructor(config: InstrumentationConfig = {}) {
    super('@z4j/bare/node-cron', VERSION, config);
  }

  /** Patches a loaded node-cron that no loader has seen. Never throws. */
  patch(exports: unknown, version: string): void {
    hub.offer(nodeCronPatch, exports, { package: 'node-cron', version, file: '' }, 'instrument');
  }

  protected override init(): InstrumentationNodeModuleDefinition {
    const { supported } = nodeCronPatch;
    // The base class calls this before fields exist.
    return new otel.InstrumentationNodeModuleDefinition(
      'node-cron',
      [`>=${supported.from} <${supported.below}`],
      (exports: unknown, version = '0.0.0') => {
        hub.offer(nodeCronPatch, exports, { package: 'node-cron', version, file: '' }, 'require');
        return exports;
      },
    );
  }
}
