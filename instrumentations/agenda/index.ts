import { createRequire } from 'node:module';
import type { InstrumentationConfig, InstrumentationNodeModuleDefinition } from '@opentelemetry/instrumentation';
import { hub } from '../../src/engine.js';
import { VERSION } from '../../src/version.js';
import { agendaPatch } from './patch.js';

export { AgendaEngine, type AgendaEngineOptions } from './operate.js';
export { agendaPatch, instrumentAgenda } from './patch.js';

// A real require: a loader that supplies the source of CommonJS files would leave require-in-the-middle without a cache.
const otel = createRequire(import.meta.url)(
  '@opentelemetry/instrumentation',
) as typeof import('@opentelemetry/instrumentation');

/** Loaded past the entry module, or by an import of CommonJS that only the hooks of `require` see. */
const FILES = ['dist/agenda/index.js', 'lib/agenda/index.js'];

/** Agenda 3–6 and @hokify/agenda as an ordinary OpenTelemetry instrumentation. It makes events for z4j, no spans. */
export class AgendaInstrumentation extends otel.InstrumentationBase {
  constructor(config: InstrumentationConfig = {}) {
    super('@z4j/bare/agenda', VERSION, config);
  }

  /** Patches a loaded Agenda that no loader has seen. Never throws. */
  patch(exports: unknown, version: string): void {
    hub.offer(agendaPatch, exports, { package: 'agenda', version, file: '' }, 'instrument');
  }

  protected override init(): InstrumentationNodeModuleDefinition[] {
    const { supported, packages } = agendaPatch;
    const versions = [`>=${supported.from} <${supported.below}`];
    return packages.map((name) => {
      // The base class calls this before fields exist.
      const offer = (file: string, exports: unknown, version = '0.0.0'): unknown => {
        hub.offer(agendaPatch, exports, { package: name, version, file }, 'require');
        return exports;
      };
      const files = FILES.map(
        (file) =>
          new otel.InstrumentationNodeModuleFile(
            `${name}/${file}`,
            versions,
            (exports: unknown, version?: string) => offer(file, exports, version),
            () => {},
          ),
      );
      return new otel.InstrumentationNodeModuleDefinition(
        name,
        versions,
        (exports: unknown, version?: string) => offer('', exports, version),
        undefined,
        files,
      );
    });
  }
}
