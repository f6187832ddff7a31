import { wellFormed } from '../protocol/canonical.js';

/** What one pass over a text found; combined bitwise. */
export const SECRET = 1;
/** Holds characters that JSON escapes. */
export const ESCAPE = 2;
/** Holds characters beyond ASCII: `isWideSecret` is to be asked too. */
export const WIDE = 4;
/** Holds U+0000 or a surrogate, lone or paired. */
export const UNCLEAN = 8;

// Every pattern has a character that ordinary text has few of. One pass stops at those only, and what it then looks at
// is bounded or belongs to no other stop: linear on any input, which backtracking expressions are not.
const PLAIN = 0;
const BREAK = 1;
const HYPHEN = 2;
const UNDERSCORE = 3;
const DOT = 4;
const COLON = 5;
const SLASH = 6;
const AT = 7;
const BLANK = 8;
const ESCAPED = 9;
const BEYOND = 10;
const SURROGATE = 11;

/** What a UTF-16 unit is to the scan. */
const CLASS = new Uint8Array(0x10000).fill(BEYOND, 128).fill(SURROGATE, 0xd800, 0xe000);
for (let c = 0; c < 128; c++) {
  // Python's blanks: tab to carriage return, the four separators, space.
  if ((c >= 9 && c <= 13) || (c >= 28 && c <= 32)) CLASS[c] = BLANK;
  else if (c < 32 || c === 34 || c === 92) CLASS[c] = ESCAPED;
  else if (!/[A-Za-z0-9]/.test(String.fromCharCode(c))) CLASS[c] = BREAK;
}
for (const [char, kind] of [
  ['-', HYPHEN],
  ['_', UNDERSCORE],
  ['.', DOT],
  [':', COLON],
  ['/', SLASH],
  ['@', AT],
] as const) {
  CLASS[char.charCodeAt(0)] = kind;
}

// Blanks of every kind, and whatever else is no visible ASCII character.
const BEARER_WIDE = /bearer[^!-~]+[\w.-]{16}/i;
const STRIPE = /[spr]k_(?:live|test)_[0-9a-z]{24}/iy;
const STRIPE_HOOK = /whsec_[0-9a-z]{24}/iy;
const GITHUB = /gh[opsur]_[0-9a-z]{36}/iy;
const GITHUB_PAT = /github_pat_\w{82}/iy;
const SLACK = /xox[abposr]-[0-9a-z-]{10}/iy;
const SLACK_HOOK = /https:\/\/hooks\.slack\.com\/services\/T\w+\/B\w+\/\w/iy;
const SENDGRID = /sg\.[\w-]{22}\.[\w-]{43}/iy;
const PEM = /-----BEGIN (?:RSA|EC|DSA|OPENSSH|PGP|ENCRYPTED|PRIVATE) (?:PRIVATE )?KEY(?: BLOCK)?-----/iy;
/** AWS, Google, Twilio: bounded, looked for only where there is a word that is long enough. */
const LONG_WORD = /A(?:KIA|SIA)[0-9A-Z]{16}|AIza[\w-]{35}|\bSK[0-9a-f]{32}\b/i;
/** Schemes of URLs that lead to data, by the code of their last letter. */
const DATABASES = new Map<number, string[]>();
for (const scheme of 'postgres postgresql mysql mariadb mongodb mongodb+srv redis rediss amqp amqps'.split(' ')) {
  const last = scheme.charCodeAt(scheme.length - 1);
  DATABASES.set(last, [...(DATABASES.get(last) ?? []), scheme]);
}
/** The four letters that Python's case-insensitive patterns take for ASCII ones. */
const FOLDED = /[\u0130\u0131\u017f\u212a]/;

function at(pattern: RegExp, text: string, index: number): boolean {
  if (index < 0) return false;
  pattern.lastIndex = index;
  return pattern.test(text);
}

/** Whether the code is that of an ASCII letter, `lower` being its small form. */
/** The unit at an index, 0 outside: `charCodeAt` is slow where it has to make NaN. */
function unit(text: string, index: number): number {
  return index >= 0 && index < text.length ? text.charCodeAt(index) : 0;
}

function is(code: number, lower: number): boolean {
  return (code | 0x20) === lower;
}

function isAlphanumeric(code: number): boolean {
  return CLASS[code] === PLAIN;
}

function isDigits(text: string, start: number, count: number): boolean {
  for (let i = start; i < start + count; i++) {
    const code = unit(text, i);
    if (!(code >= 0x30 && code <= 0x39)) return false;
  }
  return true;
}

/** A social security number whose first hyphen is at `index`, no word character around it. */
function isSsn(text: string, index: number): boolean {
  if (!isDigits(text, index - 3, 3) || !isDigits(text, index + 1, 2) || !isDigits(text, index + 4, 4)) return false;
  const before = unit(text, index - 4);
  const after = unit(text, index + 8);
  return !isAlphanumeric(before) && before !== 95 && !isAlphanumeric(after) && after !== 95;
}

/** A scheme of a database URL ends at `end`. */
function isDatabase(text: string, end: number): boolean {
  const schemes = DATABASES.get(unit(text, end - 1) | 0x20);
  if (schemes === undefined) return false;
  for (const scheme of schemes) {
    let i = 2;
    while (i <= scheme.length && is(unit(text, end - i), scheme.charCodeAt(scheme.length - i))) i++;
    if (i > scheme.length) return true;
  }
  return false;
}

/** Letters, digits, `_` and `-`: what the parts of a JSON web token are made of. */
function isTokenPart(code: number): boolean {
  return isAlphanumeric(code) || code === 95 || code === 45;
}

/** A JSON web token's first part, `eyJ` and more, ends at `end`. */
function isTokenHead(text: string, start: number, end: number): boolean {
  for (let i = start + 1; i + 2 < end; i++) {
    if (is(text.charCodeAt(i), 0x79) && is(unit(text, i - 1), 0x65) && is(unit(text, i + 1), 0x6a)) return true;
  }
  return false;
}

function isMail(text: string, index: number): boolean {
  if (index === 0) return false;
  const before = unit(text, index - 1);
  // . _ % + - may end a local part.
  if (!isAlphanumeric(before) && !(before === 46 || before === 95 || before === 37 || before === 43 || before === 45)) {
    return false;
  }
  for (let i = index + 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 46 && i > index + 1 && isLetter(unit(text, i + 1)) && isLetter(unit(text, i + 2))) return true;
    if (code !== 46 && code !== 45 && !isAlphanumeric(code)) return false;
  }
  return false;
}

function isLetter(code: number): boolean {
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x7a;
}

/** What an underscore at `index` may be part of; a cheap look comes before the expensive one. */
function isKeyOfService(text: string, index: number): boolean {
  switch (unit(text, index - 1) | 0x20) {
    case 0x6b: // k
      return unit(text, index + 5) === 95 && at(STRIPE, text, index - 2);
    case 0x63: // c
      return is(unit(text, index - 5), 0x77) && at(STRIPE_HOOK, text, index - 5);
    case 0x62: // b
      return unit(text, index + 4) === 95 && at(GITHUB_PAT, text, index - 6);
    default:
      return is(unit(text, index - 3), 0x67) && at(GITHUB, text, index - 3);
  }
}

function isSlack(text: string, index: number): boolean {
  return is(unit(text, index - 2), 0x78) && is(unit(text, index - 3), 0x6f) && at(SLACK, text, index - 4);
}

/** `bearer` before the blank at `index`, and behind the blanks what may be a token. */
function isBearer(text: string, index: number): boolean {
  if (!is(unit(text, index - 1), 0x72) || !is(unit(text, index - 6), 0x62)) return false;
  if (text.slice(index - 6, index).toLowerCase() !== 'bearer') return false;
  let start = index;
  while (start < text.length && (text.charCodeAt(start) < 33 || text.charCodeAt(start) > 126)) start++;
  for (let i = start; i < start + 16; i++) {
    const code = unit(text, i);
    if (!isTokenPart(code) && code !== 46) return false;
  }
  return true;
}

/** A word of five letters before a blank at `index` may be `BEGIN`. */
function isPem(text: string, index: number): boolean {
  return is(unit(text, index - 1), 0x6e) && unit(text, index - 6) === 45 && at(PEM, text, index - 10);
}

/**
 * Looks for credentials, e-mail addresses and social security numbers (protocol.md §9, and a few shapes more: user and
 * password in a URL of any scheme, a database URL without user). Stops at the first one, so the other flags are
 * complete only without `SECRET`. Takes time in proportion to the length of the text, whatever it holds.
 */
export function inspect(text: string): number {
  const { length } = text;
  let flags = 0;
  let word = 0; // start of the run of letters and digits
  let token = 0; // start of the run that `_` and `-` belong to
  let longWord = false;
  let head = -1; // start of the run before the last dot: a JSON web token has three
  let authority = -1; // start of what may be `user:password@`
  let path = false; // the user may hold slashes: a database URL
  let password = -1;
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i);
    const kind = CLASS[code] as number;
    if (kind === PLAIN) continue;
    const run = i - word;
    word = i + 1;
    if (run >= 20) longWord = true;
    if (kind === HYPHEN) {
      if (run === 3 ? isSsn(text, i) : run > 3 && isSlack(text, i)) return flags | SECRET;
      continue;
    }
    if (kind === UNDERSCORE) {
      if (run > 1 && isKeyOfService(text, i)) return flags | SECRET;
      continue;
    }
    const start = token;
    token = i + 1;
    if (i - start >= 39) longWord = true;
    if (kind === DOT) {
      if (head >= 0 && i > start && isTokenPart(unit(text, i + 1)) && isTokenHead(text, head, start - 1)) {
        return flags | SECRET;
      }
      head = i > start ? start : -1;
      if (run > 1 && unit(text, i + 23) === 46 && at(SENDGRID, text, i - 2)) return flags | SECRET;
      continue;
    }
    head = -1;
    switch (kind) {
      case COLON:
        if (unit(text, i + 1) === 47 && unit(text, i + 2) === 47) {
          // A database URL goes on until a blank: what it takes for its password covers this one.
          if (authority < 0 || !path) {
            authority = i + 3;
            password = -1;
            path = run > 2 && isDatabase(text, i);
          }
          if (run > 4 && is(unit(text, i + 3), 0x68) && at(SLACK_HOOK, text, i - 5)) return flags | SECRET;
        }
        if (authority >= 0 && i >= authority && password < 0) password = i + 1;
        break;
      case SLASH:
        if (!path && i >= authority) authority = -1;
        break;
      case AT:
        if (authority >= 0 && password >= 0 && i > password) return flags | SECRET;
        if (isMail(text, i)) return flags | SECRET;
        break;
      case BLANK:
        authority = -1;
        if (code < 32) flags |= ESCAPE;
        if (run === 5 ? isPem(text, i) : run > 5 && isBearer(text, i)) return flags | SECRET;
        break;
      case ESCAPED:
        flags |= code === 0 ? ESCAPE | UNCLEAN : ESCAPE;
        if (!path) authority = -1;
        break;
      case BEYOND:
        flags |= WIDE;
        break;
      case SURROGATE:
        flags |= WIDE | UNCLEAN;
        break;
      default:
        // ? and # end the authority of a URL.
        if (!path && (code === 63 || code === 35)) authority = -1;
    }
  }
  if (length - word >= 20 || length - token >= 39) longWord = true;
  if (longWord && LONG_WORD.test(text)) return flags | SECRET;
  return flags;
}

/** What only a pattern aware of Unicode finds: its blanks, its digits, its other forms of `i`, `k` and `s`. */
export function isWideSecret(text: string): boolean {
  const folded = foldCase(text);
  return BEARER_WIDE.test(folded) || isWideSsn(text) || (folded !== text && (inspect(folded) & SECRET) !== 0);
}

/** A social security number in digits of any script; those that take two units are not looked at closely. */
function isWideSsn(text: string): boolean {
  for (let first = text.indexOf('-'); first >= 0; first = text.indexOf('-', first + 1)) {
    if (!areWideDigits(text, first - 3, first)) continue;
    for (let second = first + 3; second <= first + 5; second++) {
      if (
        unit(text, second) === 45 &&
        areWideDigits(text, first + 1, second) &&
        areWideDigits(text, second + 1, second + 5)
      ) {
        return true;
      }
    }
  }
  return false;
}

function areWideDigits(text: string, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    const code = unit(text, i);
    if (code < 128 ? code < 0x30 || code > 0x39 : !isWideDigit(code)) return false;
  }
  return true;
}

/** 0: not asked yet, 1: no, 2: yes. */
const WIDE_DIGITS = new Uint8Array(0x10000).fill(2, 0xd800, 0xe000);

function isWideDigit(code: number): boolean {
  WIDE_DIGITS[code] ||= /\p{Nd}/u.test(String.fromCharCode(code)) ? 2 : 1;
  return WIDE_DIGITS[code] === 2;
}

/** Replaces the letters beyond ASCII that Python's `re.IGNORECASE` takes for `i`, `k` and `s`. */
export function foldCase(text: string): string {
  if (!FOLDED.test(text)) return text;
  // One pass, where `replace` would make a string for every match.
  const units = new Uint16Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    units[i] = code === 0x130 || code === 0x131 ? 0x69 : code === 0x17f ? 0x73 : code === 0x212a ? 0x6b : code;
  }
  return Buffer.from(units.buffer).toString('utf16le');
}

/** Without U+0000, which PostgreSQL cannot store, and without lone surrogates, which UTF-8 cannot hold. */
export function cleaned(text: string): string {
  if (!text.includes('\0')) return wellFormed(text);
  const units = new Uint16Array(text.length);
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code !== 0) units[length++] = code;
  }
  return wellFormed(Buffer.from(units.buffer, 0, length * 2).toString('utf16le'));
}
