/**
 * What was wrong with a frame, a value or a secret:
 *
 * | code | means |
 * |---|---|
 * | `json` | not JSON text, or not UTF-8 |
 * | `depth` | nested deeper than 200 levels |
 * | `number` | a number no brain can read: overflowing, or an integer of more than 4300 digits |
 * | `unsignable` | a value that has no canonical text: NaN, a lone surrogate, a function, a cycle |
 * | `too_large` | larger than the limit of the connection |
 * | `version` | `v` is not 2, or another `protocol_version` |
 * | `type` | not the kind of frame that was expected |
 * | `frame` | the envelope is incomplete or has wrong types |
 * | `payload` | the payload of a known frame has wrong types |
 * | `signature` | missing or wrong HMAC: another secret, another session, or a changed frame |
 * | `replay` | `seq`, `nonce` or `ts` are not fresh |
 * | `secret` | the project secret cannot be used |
 * | `hello` | the hello breaks a limit of the protocol |
 * | `row` | a schedule that cannot be part of an inventory |
 */
export type ProtocolErrorCode =
  | 'json'
  | 'depth'
  | 'number'
  | 'unsignable'
  | 'too_large'
  | 'version'
  | 'type'
  | 'frame'
  | 'payload'
  | 'signature'
  | 'replay'
  | 'secret'
  | 'hello'
  | 'row';

/** The one error of this folder; `message` never contains secrets or more than a few characters of the input. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
  readonly code: ProtocolErrorCode;
  constructor(code: ProtocolErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
