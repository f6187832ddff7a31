import { foldCase } from './secrets.js';

/** Names that are secret only as the whole key or as its last word: `ssn`, `user_ssn`, not `lessn`. */
const LAST_WORDS = new Set(['ssn', 'cvv', 'cvc', 'jwt', 'otp', 'pwd']);
const WHOLE_KEYS = new Set(['auth', 'creditcard']);

/** What a secret key ends with when its letters stand alone: `userPassword`, `x-auth-token`, `AWS_SECRET_ACCESS_KEY`. */
const ENDINGS = [
  'password',
  'passwd',
  'passphrase',
  'passcode',
  'passwordhash',
  'passwordconfirmation',
  'passwordsalt',
  'pwd',
  'secret',
  'secrets',
  'token',
  'apikey',
  'privatekey',
  'secretkey',
  'accesskey',
  'encryptionkey',
  'signingkey',
  'masterkey',
  'authkey',
  'sshkey',
  'authorization',
  'basicauth',
  'credential',
  'credentials',
  'cookie',
  'socialsecurity',
  'socialsecuritynumber',
  'creditcardnumber',
  'cardnumber',
  'connectionstring',
];

/** Endings by their last two letters: most keys are decided by one look-up. */
const BY_TAIL = new Map<string, string[]>();
for (const ending of ENDINGS) {
  const tail = ending.slice(-2);
  BY_TAIL.set(tail, [...(BY_TAIL.get(tail) ?? []), ending]);
}

/**
 * Whether everything below a key is secret by its name: the names of protocol.md §9 in any spelling (`access_token`,
 * `accessToken`, `Access-Token`), the same at the end of a longer name (`userPassword`, `x-auth-token`), and keys of
 * more than 256 characters. Not `author`, `tokens`, `last_password_reset`, `keyboard`.
 */
export function isSecretKey(key: string): boolean {
  if (key.length > 256) return true;
  const words = foldCase(key)
    .replace(/([a-z0-9])(?=[A-Z])/g, '$1 ')
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== '');
  const last = words.at(-1);
  if (last === undefined) return false;
  const letters = words.join('');
  return (
    LAST_WORDS.has(last) ||
    WHOLE_KEYS.has(letters) ||
    (BY_TAIL.get(letters.slice(-2))?.some((ending) => letters.endsWith(ending)) ?? false)
  );
}
