import {
  InstrumentationBase,
  type InstrumentationConfig,
  InstrumentationNodeModuleDefinition,
} from '@opentelemetry/instrumentation';
import { hub } from '../../src/engine.js';
import { VERSION } from '../../src/version.js';
import { nodeCronPatch } from './patch.js';

export { isDaemon } from './foreign.js';
export { NodeCronEngine } from './operate.js';
export { nodeCronPatch } from './patch.js';

/** node-cron 2–4 as an ordinary OpenTelemetry instrumentation. It makes events for z4j, no spans. */
export class NodeCronInstrumentation extends InstrumentationBase {
  constructor(config: InstrumentationConfig = {}) {
    super('@z4j/bare/node-cron', VERSION, config);
  }

  protected override init(): InstrumentationNodeModuleDefinition {
    const { packages, supported } = nodeCronPatch;
    return new InstrumentationNodeModuleDefinition(
      packages[0] as string,
      [`>=${supported.from} <${supported.below}`],
      (exports: unknown, version = '0.0.0') => {
        hub.offer(nodeCronPatch, exports, { package: 'node-cron', version, file: '' }, 'instrument');
        return exports;
      },
    );
  }
}
