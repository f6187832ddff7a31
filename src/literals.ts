import { type KeyRule, LIMITS, type Member, Printer, type PrintRules, REDACTED_TEXT, Shapes } from './printer.js';

/** Longest text that is remembered, in UTF-16 units. */
const SHORT = 64;
/** Texts remembered for a name; a power of two. */
const SLOTS = 128;
/** What comes as often is worth a text in one piece. */
const OFTEN = 4;
/** Names for which texts are remembered. */
const MAX_NAMES = 64;

/** A member whose text is had already. */
export interface NamedMember extends Member {
  readonly name: string;
}

interface Known {
  readonly value: string;
  seen: number;
  member: Member | undefined;
}

interface LiteralRule extends KeyRule {
  /** What came under this name lately; undefined: it is secret, or there are too many names. */
  readonly known: (Known | undefined)[] | undefined;
}

/**
 * Prints object literals that a caller made of values of the host, as events have them: the literal itself is not asked
 * what else it may be, and its short texts, the same names again and again, are remembered with their keys.
 */
export class Literals {
  readonly #rules: PrintRules;
  readonly #shapes: Shapes<KeyRule>;
  readonly #literalShapes: Shapes<LiteralRule>;
  readonly #names = new Map<string, LiteralRule['known']>();

  /** `shapes` are those of the values inside. */
  constructor(rules: PrintRules, shapes: Shapes<KeyRule>) {
    this.#rules = rules;
    this.#shapes = shapes;
    this.#literalShapes = new Shapes((key) => {
      const rule = rules.key(key);
      return { ...rule, known: rule.secret ? undefined : this.#knownOf(key) };
    });
  }

  /** The text as `Printer` has it; `more` is a member besides, in place of one of its name. */
  print(literal: object, more?: NamedMember): string {
    const keys = Object.keys(literal);
    if (keys.length > LIMITS.keys) keys.length = LIMITS.keys;
    const { sorted, rules } = this.#literalShapes.of(keys);
    let printer: Printer | undefined;
    let text = '{';
    let first = true;
    // What comes behind all others need not be compared with each.
    let rest = more;
    const isLast =
      more === undefined || sorted.length === 0 || (rules[sorted.length - 1] as LiteralRule).name < more.name;
    for (let i = 0; i < sorted.length; i++) {
      const rule = rules[i] as LiteralRule;
      if (!isLast && rest !== undefined && rule.name >= rest.name) {
        text += first ? rest.text : rest.next;
        first = false;
        rest = undefined;
      }
      if (!isLast && rule.name === more?.name) continue;
      const value = (literal as { readonly [key: string]: unknown })[sorted[i] as string];
      if (value === undefined) continue;
      if (typeof value === 'string' && value.length <= SHORT) {
        text += this.#short(rule, value, first);
      } else {
        printer ??= new Printer(this.#rules, this.#shapes);
        const item = printer.member(rule, value);
        if (item === undefined) continue;
        text += first ? rule.text : rule.next;
        text += item;
      }
      first = false;
    }
    if (rest !== undefined) text += first ? rest.text : rest.next;
    return `${text}}`;
  }

  #short(rule: LiteralRule, value: string, first: boolean): string {
    const { length } = value;
    const slot = length < 2 ? length : (value.charCodeAt(length - 1) + value.charCodeAt(length - 2) * 17) & (SLOTS - 1);
    const known = rule.known?.[slot];
    const isKnown = known !== undefined && known.value === value;
    if (isKnown && known.member !== undefined) return first ? known.member.text : known.member.next;
    const item = rule.secret ? REDACTED_TEXT : this.#rules.text(value);
    if (!isKnown) {
      // No secret stays here longer than it has to.
      if (rule.known !== undefined && item !== REDACTED_TEXT) rule.known[slot] = { value, seen: 1, member: undefined };
    } else if (++known.seen === OFTEN) {
      known.member = { text: flat(rule.text + item), next: flat(rule.next + item) };
    }
    return (first ? rule.text : rule.next) + item;
  }

  #knownOf(key: string): LiteralRule['known'] {
    if (!this.#names.has(key) && this.#names.size < MAX_NAMES) this.#names.set(key, new Array(SLOTS).fill(undefined));
    return this.#names.get(key);
  }
}

/** In one piece: what is put together by `+` is a tree to V8, walked each time it is copied. */
function flat(text: string): string {
  return Buffer.from(text).toString();
}
