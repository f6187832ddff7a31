/** What one pass over a text found; combined bitwise. */
export const SECRET = 1;
/** Holds characters that JSON escapes. */
export const ESCAPE = 2;
/** Holds characters beyond ASCII. */
export const WIDE = 4;
/** Holds U+0000 or a surrogate, lone or paired. */
export const UNCLEAN = 8;

// Every pattern has a character that ordinary text has few of. One pass stops at those only, and what it then looks at
// is bounded or belongs to no other stop: linear on any input, which backtracking expressions are not.
const PLAIN = 0;
const BREAK = 1;
const JOINER = 2;
const DOT = 3;
const COLON = 4;
const SLASH = 5;
const AT = 6;
const BLANK = 7;

const CLASS = new Uint8Array(128);
for (let c = 0; c < 128; c++) {
  // Python's blanks: tab to carriage return, the four separators, space.
  if ((c >= 9 && c <= 13) || (c >= 28 && c <= 32)) CLASS[c] = BLANK;
  else if (!/[A-Za-z0-9]/.test(String.fromCharCode(c))) CLASS[c] = BREAK;
}
for (const [char, kind] of [
  ['_', JOINER],
  ['-', JOINER],
  ['.', DOT],
  [':', COLON],
  ['/', SLASH],
  ['@', AT],
] as const) {
  CLASS[char.charCodeAt(0)] = kind;
}

// Blanks of every kind, and whatever else is no visible ASCII character.
const BEARER = /bearer[^!-~]+[\w.-]{16}/iy;
const BEARER_WIDE = /bearer[^!-~]+[\w.-]{16}/i;
const STRIPE = /[spr]k_(?:live|test)_[0-9a-z]{24}/iy;
const STRIPE_HOOK = /whsec_[0-9a-z]{24}/iy;
const GITHUB = /gh[opsur]_[0-9a-z]{36}/iy;
const GITHUB_PAT = /github_pat_\w{82}/iy;
const SLACK = /xox[abposr]-[0-9a-z-]{10}/iy;
const SLACK_HOOK = /https:\/\/hooks\.slack\.com\/services\/T\w+\/B\w+\/\w/iy;
const SENDGRID = /sg\.[\w-]{22}\.[\w-]{43}/iy;
const PEM = /-----BEGIN (?:RSA|EC|DSA|OPENSSH|PGP|ENCRYPTED|PRIVATE) (?:PRIVATE )?KEY(?: BLOCK)?-----/iy;
const SSN = /(?<!\w)\d{3}-\d{2}-\d{4}(?!\w)/y;
const SSN_WIDE = /\p{Nd}{3}-\p{Nd}{2}-\p{Nd}{4}/u;
/** AWS, Google, Twilio: bounded, looked for only where there is a word that is long enough. */
const LONG_WORD = /A(?:KIA|SIA)[0-9A-Z]{16}|AIza[\w-]{35}|\bSK[0-9a-f]{32}\b/i;
const DATABASE = /(?:postgres|postgresql|mysql|mariadb|mongodb|mongodb\+srv|redis|rediss|amqp|amqps)$/i;
/** The four letters that Python's case-insensitive patterns take for ASCII ones. */
const FOLDED = /[\u0130\u0131\u017f\u212a]/;

function at(pattern: RegExp, text: string, index: number): boolean {
  if (index < 0) return false;
  pattern.lastIndex = index;
  return pattern.test(text);
}

/** Whether the code is that of an ASCII letter, `lower` being its small form. */
function is(code: number, lower: number): boolean {
  return (code | 0x20) === lower;
}

function isAlphanumeric(code: number): boolean {
  return code < 128 && CLASS[code] === PLAIN;
}

/** A JSON web token's first part, `eyJ` and more, ends at `end`. */
function isTokenHead(text: string, start: number, end: number): boolean {
  for (let i = start; i + 4 <= end; i++) {
    if (is(text.charCodeAt(i + 1), 0x79) && is(text.charCodeAt(i), 0x65) && is(text.charCodeAt(i + 2), 0x6a))
      return true;
  }
  return false;
}

function isMail(text: string, index: number): boolean {
  if (index === 0) return false;
  const before = text.charCodeAt(index - 1);
  // . _ % + - may end a local part.
  if (!isAlphanumeric(before) && !(before === 46 || before === 95 || before === 37 || before === 43 || before === 45)) {
    return false;
  }
  for (let i = index + 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 46 && i > index + 1 && isLetter(text.charCodeAt(i + 1)) && isLetter(text.charCodeAt(i + 2)))
      return true;
    if (code !== 46 && code !== 45 && !isAlphanumeric(code)) return false;
  }
  return false;
}

function isLetter(code: number): boolean {
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x7a;
}

function isJoinedSecret(text: string, index: number): boolean {
  const before = text.charCodeAt(index - 1) | 0x20;
  if (text.charCodeAt(index) === 95) {
    switch (before) {
      case 0x6b: // k
        return at(STRIPE, text, index - 2);
      case 0x63: // c
        return at(STRIPE_HOOK, text, index - 5);
      case 0x62: // b
        return at(GITHUB_PAT, text, index - 6);
      case 0x6f: // o
      case 0x70: // p
      case 0x72: // r
      case 0x73: // s
      case 0x75: // u
        return at(GITHUB, text, index - 3);
      default:
        return false;
    }
  }
  return (
    (text.charCodeAt(index + 3) === 45 && at(SSN, text, index - 3)) ||
    (is(text.charCodeAt(index - 2), 0x78) && at(SLACK, text, index - 4)) ||
    (text.charCodeAt(index + 4) === 45 && is(text.charCodeAt(index + 5), 0x62) && at(PEM, text, index))
  );
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
  let tokenHead = false; // the run before the last dot was the head of a JSON web token
  let authority = -1; // start of what may be `user:password@`
  let path = false; // the user may hold slashes: a database URL
  let password = -1;
  for (let i = 0; i <= length; i++) {
    const code = i === length ? 0x20 : text.charCodeAt(i);
    if (code > 127) {
      flags |= code >= 0xd800 && code <= 0xdfff ? WIDE | UNCLEAN : WIDE;
      if (i - word >= 20 || i - token >= 39) longWord = true;
      word = token = i + 1;
      tokenHead = false;
      continue;
    }
    const kind = CLASS[code] as number;
    if (kind === PLAIN) continue;
    if (i - word >= 20) longWord = true;
    word = i + 1;
    if (kind === JOINER) {
      if (isJoinedSecret(text, i)) return flags | SECRET;
      continue;
    }
    if (i - token >= 39) longWord = true;
    if (kind === DOT) {
      if (tokenHead && i > token) {
        const next = text.charCodeAt(i + 1);
        if (isAlphanumeric(next) || next === 95 || next === 45) return flags | SECRET;
      }
      tokenHead = isTokenHead(text, token, i);
      if (is(text.charCodeAt(i - 1), 0x67) && at(SENDGRID, text, i - 2)) return flags | SECRET;
      token = i + 1;
      continue;
    }
    token = i + 1;
    tokenHead = false;
    switch (kind) {
      case COLON:
        if (text.charCodeAt(i + 1) === 47 && text.charCodeAt(i + 2) === 47) {
          const database = DATABASE.test(text.slice(Math.max(0, i - 11), i));
          // An earlier database URL goes on: what it takes for its password covers this one.
          if (database || !path) {
            if (!path || authority < 0) {
              authority = i + 3;
              password = -1;
            }
            path = database;
          }
        }
        if (authority >= 0 && i >= authority && password < 0) password = i + 1;
        break;
      case SLASH:
        if (!path && i >= authority) authority = -1;
        if (is(text.charCodeAt(i + 1), 0x68) && at(SLACK_HOOK, text, i - 7)) return flags | SECRET;
        break;
      case AT:
        if (authority >= 0 && password >= 0 && i > password) return flags | SECRET;
        if (isMail(text, i)) return flags | SECRET;
        break;
      case BLANK:
        authority = -1;
        path = false;
        if (code < 0x20) flags |= ESCAPE;
        if (i < length && is(text.charCodeAt(i - 1), 0x72) && at(BEARER, text, i - 6)) return flags | SECRET;
        break;
      default:
        if (code < 0x20 || code === 34 || code === 92) flags |= code === 0 ? ESCAPE | UNCLEAN : ESCAPE;
        // Quote, ? and # end the authority of a URL.
        if (!path && (code === 34 || code === 63 || code === 35)) authority = -1;
    }
  }
  if (longWord && LONG_WORD.test(text)) return flags | SECRET;
  if (flags & WIDE && isWideSecret(text)) return flags | SECRET;
  return flags;
}

/** Shapes that only a pattern aware of Unicode finds: its blanks, its digits, its other forms of `i`, `k` and `s`. */
function isWideSecret(text: string): boolean {
  if (BEARER_WIDE.test(text) || SSN_WIDE.test(text)) return true;
  return FOLDED.test(text) && (inspect(foldCase(text)) & SECRET) !== 0;
}

/** Replaces the letters beyond ASCII that Python's `re.IGNORECASE` takes for `i`, `k` and `s`. */
export function foldCase(text: string): string {
  return text
    .replace(/[\u0130\u0131]/g, 'i')
    .replace(/\u017f/g, 's')
    .replace(/\u212a/g, 'k');
}
