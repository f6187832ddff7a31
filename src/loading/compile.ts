import Module from 'node:module';

type Compile = (this: { exports: unknown }, content: string, filename: string, ...rest: unknown[]) => unknown;

/**
 * Observes every CommonJS module that Node compiles, also those that are imported; `seen` hears of it when the module
 * has run. Returns whether the observer is still the outermost one.
 */
export function observeCompile(seen: (filename: string, exports: unknown) => void): () => boolean {
  const prototype = Module.prototype as unknown as { _compile: Compile };
  const original = prototype._compile;
  const observer = function _compile(
    this: { exports: unknown },
    content: string,
    filename: string,
    ...rest: unknown[]
  ) {
    const result = original.call(this, content, filename, ...rest);
    seen(filename, this.exports);
    return result;
  };
  Object.defineProperty(observer, 'length', { value: original.length, configurable: true });
  prototype._compile = observer;
  return () => prototype._compile === observer;
}
