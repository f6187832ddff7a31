import { createRequire } from 'node:module';
import { types } from 'node:util';
import type { InstrumentationConfig, InstrumentationNodeModuleDefinition } from '@opentelemetry/instrumentation';
import { hub } from '../../src/engine.js';
import { VERSION } from '../../src/version.js';
import { bullmqPatch } from './patch.js';

export { BullMQEngine, type BullMQEngineOptions } from './operate.js';
export { bullmqPatch } from './patch.js';

// A real require: a loader that supplies the source of CommonJS files would leave require-in-the-middle without a cache.
const otel = createRequire(import.meta.url)(
  '@opentelemetry/instrumentation',
) as typeof import('@opentelemetry/instrumentation');

/** Files that may be loaded past the entry module, or hold a class that it does not export. */
const FILES = ['async-fifo-queue', 'queue-base', 'queue', 'worker', 'job', 'flow-producer', 'job-scheduler'];

/** Neither hook tells the path; this one keeps versions apart. */
const fileOf = (version: string, file: string): string => `bullmq@${version}/node_modules/bullmq/dist/cjs/${file}`;

/**
 * BullMQ 3–6 as an ordinary OpenTelemetry instrumentation. It makes events for z4j, no spans. Bundled applications hand
 * the module over themselves: `instrumentation.patch(bullmq, '6.7.0')`.
 */
export class BullMQInstrumentation extends otel.InstrumentationBase {
  constructor(config: InstrumentationConfig = {}) {
    super('@z4j/bare/bullmq', VERSION, config);
  }

  /** Patches a loaded BullMQ that no loader has seen. Never throws. */
  patch(exports: unknown, version: string): void {
    hub.offer(bullmqPatch, exports, { package: 'bullmq', version, file: fileOf(version, 'index.js') }, 'instrument');
  }

  protected override init(): InstrumentationNodeModuleDefinition {
    const { supported } = bullmqPatch;
    const versions = [`>=${supported.from} <${supported.below}`];
    // The base class calls this before fields exist, and lets whatever a callback throws reach the host.
    const offer = (file: string, exports: unknown, version = '0.0.0'): unknown => {
      const eye = types.isModuleNamespaceObject(exports) || types.isProxy(exports) ? 'import' : 'require';
      const inner = file !== 'index.js';
      hub.offer(
        bullmqPatch,
        exports,
        { package: 'bullmq', version, file: fileOf(version, file), ...(inner ? { inner } : {}) },
        eye,
      );
      return exports;
    };
    const files = FILES.map((name) => {
      const file = `classes/${name}.js`;
      return new otel.InstrumentationNodeModuleFile(
        `bullmq/dist/cjs/${file}`,
        versions,
        (exports: unknown, version?: string) => offer(file, exports, version),
        () => {},
      );
    });
    return new otel.InstrumentationNodeModuleDefinition(
      'bullmq',
      versions,
      (exports: unknown, version?: string) => offer('index.js', exports, version),
      undefined,
      files,
    );
  }
}
