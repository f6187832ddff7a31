import { isSecretKey } from './capture/keys.js';
import { cleaned, ESCAPE, inspect, isWideSecret, SECRET, UNCLEAN, WIDE } from './capture/secrets.js';
import type { JsonValue } from './engine.js';
import { Literals, type NamedMember } from './literals.js';
import { type KeyRule, Printer, type PrintRules, REDACTED_TEXT, Shapes } from './printer.js';

export { REDACTED } from './printer.js';

/** Keys whose rule is remembered; a host that makes up keys (ids, dates) starts the memory anew. */
const KNOWN_KEYS = 4096;
/** Room for `[...N more bytes truncated]`, so that the brain, whose limit is the same, does not cut again. */
const SUFFIX = 40;
/** No pattern of ours looks further: what the cut runs through is still found. */
const OVERLAP = 512;

/** Options of `Redactor`. Patterns are added to the built-in ones, are case-insensitive and match anywhere. */
export interface RedactorOptions {
  /** Keys whose whole content is secret. */
  readonly extraKeyPatterns?: readonly (string | RegExp)[];
  /** Strings that are secret as a whole when one of these is found in them. */
  readonly extraValuePatterns?: readonly (string | RegExp)[];
  /** Bytes of UTF-8 of one string, its cut mark included: 64 to 1 048 576, default 8192, which is also the brain's limit. */
  readonly maxStringBytes?: number;
}

/** An option of a `Redactor` that cannot be used; `message` names it and says what to write instead. */
export class RedactorError extends Error {
  override readonly name = 'RedactorError';
  readonly code: 'pattern' | 'max_string_bytes';
  constructor(code: RedactorError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * Takes secrets out of values before they leave the process, like the brain's own redaction and somewhat stricter.
 *
 * `[REDACTED]` replaces every string that holds a credential (tokens of well-known services, bearer and JSON web
 * tokens, passwords in URLs, private keys), an e-mail address or a US social security number, and everything below a
 * key that names a secret (`password`, `apiKey`, `x-auth-token` …), whose objects and arrays keep their shape.
 *
 * What JSON cannot hold becomes: Date → ISO text, Map → object, Set → array, Error → `Name: message`, Buffer and typed
 * arrays → `[Buffer: 12 bytes]`, functions → `[Function: name]`, symbols → `[Symbol: text]`, NaN and infinities → their
 * names, BigInt → digits (a string beyond 64 bits), an object met inside itself → `[circular]`, what throws when read →
 * `[unreadable]`, levels from 64 on → `[REDACTED]`. `toJSON` is honoured, undefined members are left out, instances of
 * classes give their own enumerable properties. U+0000 is dropped, lone surrogates become U+FFFD.
 *
 * A string over `maxStringBytes` is cut and ends in `[...N more bytes truncated]`; a value of more than about 256 KiB
 * is cut at that point, an object after 2000 keys. The time taken is bounded and linear in what is printed.
 */
export class Redactor {
  readonly #keyPatterns: readonly RegExp[];
  readonly #valuePatterns: readonly RegExp[];
  readonly #maxBytes: number;
  readonly #keys = new Map<string, KeyRule>();
  readonly #rules: PrintRules & { cost: number };
  readonly #shapes: Shapes<KeyRule>;
  readonly #literals: Literals;

  /** Throws `RedactorError` when a pattern is no regular expression or the limit is out of range. */
  constructor({ extraKeyPatterns = [], extraValuePatterns = [], maxStringBytes = 8192 }: RedactorOptions = {}) {
    if (!Number.isInteger(maxStringBytes) || maxStringBytes < 64 || maxStringBytes > 1_048_576) {
      throw new RedactorError(
        'max_string_bytes',
        `Expected \`maxStringBytes\` to be an integer from 64 to 1048576, got \`${String(maxStringBytes)}\``,
      );
    }
    this.#keyPatterns = compile('extraKeyPatterns', extraKeyPatterns);
    this.#valuePatterns = compile('extraValuePatterns', extraValuePatterns);
    this.#maxBytes = maxStringBytes;
    this.#rules = { cost: 0, key: (key) => this.#key(key), text: (text) => this.#text(text) };
    this.#shapes = new Shapes(this.#rules.key);
    this.#literals = new Literals(this.#rules, this.#shapes);
  }

  /** A redacted copy that is plain JSON; integers beyond 2⁵³ lose digits, undefined becomes null. Never throws. */
  redact(value: unknown): JsonValue {
    return JSON.parse(this.print(value)) as JsonValue;
  }

  /**
   * The redacted value as canonical JSON the way Python writes it: keys sorted by code point, no blanks, floats by
   * `repr`. `depth` is the level at which the text will stand in a larger value. Never throws.
   */
  print(value: unknown, depth = 0): string {
    if (typeof value === 'string') return this.#text(value);
    return new Printer(this.#rules, this.#shapes).print(value, depth, false) ?? 'null';
  }

  /** As `print(literal, 1)`, see `Literals`. Throws what getters of the literal itself throw. */
  printLiteral(literal: object, more?: NamedMember): string {
    return this.#literals.print(literal, more);
  }

  #key(key: string): KeyRule {
    const known = this.#keys.get(key);
    if (known !== undefined) return known;
    const text = this.#text(key);
    const name = JSON.parse(text) as string;
    const rule: KeyRule = {
      name,
      text: `${text}:`,
      next: `,${text}:`,
      bytes: Buffer.byteLength(text) + 1,
      secret: isSecretKey(key) || matches(this.#keyPatterns, key.length > 1024 ? key.slice(0, 1024) : key),
      plain: name === key && !/[\ud800-\udfff]/.test(key),
    };
    if (key.length <= 64) {
      if (this.#keys.size >= KNOWN_KEYS) this.#keys.clear();
      this.#keys.set(key, rule);
    }
    return rule;
  }

  #text(text: string): string {
    const rules = this.#rules;
    rules.cost = text.length + 2;
    if (text.length * 3 > this.#maxBytes && isLonger(text, this.#maxBytes)) return this.#cut(text);
    const flags = inspect(text);
    if (flags === 0 && this.#valuePatterns.length === 0) return `"${text}"`;
    if (flags & UNCLEAN) {
      const clean = cleaned(text);
      if (clean !== text) return this.#text(clean);
    }
    if (this.#isSecret(text, flags)) return REDACTED_TEXT;
    const printed = flags & ESCAPE ? JSON.stringify(text) : `"${text}"`;
    rules.cost = flags & WIDE ? Buffer.byteLength(printed) : printed.length;
    return printed;
  }

  #isSecret(text: string, flags: number): boolean {
    return (flags & SECRET) !== 0 || ((flags & WIDE) !== 0 && isWideSecret(text)) || matches(this.#valuePatterns, text);
  }

  #cut(text: string): string {
    const keep = this.#maxBytes - SUFFIX;
    // Everything that can matter; the rest of a huge text is only counted.
    const head = cleaned(text.slice(0, keep + OVERLAP));
    const kept = firstBytes(head, keep);
    const more = text.length - kept.length;
    const measured = text.length <= 1_048_576;
    const result = measured
      ? `${kept}[...${Buffer.byteLength(text) - Buffer.byteLength(kept)} more bytes truncated]`
      : `${kept}[...${more} more letters truncated]`;
    this.#rules.cost = this.#maxBytes;
    for (const part of [result, head.slice(Math.max(0, kept.length - OVERLAP))]) {
      if (this.#isSecret(part, inspect(part))) return REDACTED_TEXT;
    }
    return JSON.stringify(result);
  }
}

function compile(option: string, patterns: readonly (string | RegExp)[]): RegExp[] {
  return patterns.map((pattern) => {
    try {
      if (typeof pattern === 'string') return new RegExp(pattern, 'i');
      // Not global and not sticky: those remember where they stopped.
      return new RegExp(pattern.source, `i${pattern.flags.replace(/[giy]/g, '')}`);
    } catch (cause) {
      throw new RedactorError(
        'pattern',
        `Expected \`${option}\` to hold regular expressions, got \`${String(pattern)}\` (${(cause as Error).message})`,
        { cause },
      );
    }
  });
}

function matches(patterns: readonly RegExp[], text: string): boolean {
  for (const pattern of patterns) if (pattern.test(text)) return true;
  return false;
}

function isLonger(text: string, bytes: number): boolean {
  return text.length > bytes || Buffer.byteLength(text) > bytes;
}

/** The longest start of a well-formed text that has at most so many bytes, at a code point's end. */
function firstBytes(text: string, bytes: number): string {
  const buffer = Buffer.from(text.slice(0, bytes));
  if (buffer.length <= bytes) return text.slice(0, bytes);
  let end = bytes;
  while (((buffer[end] as number) & 0xc0) === 0x80) end--;
  return buffer.toString('utf8', 0, end);
}
