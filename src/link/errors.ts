/**
 * Why there is no connection:
 *
 * | code | means |
 * |---|---|
 * | `url` | the address of the brain cannot be used |
 * | `insecure` | plain `ws://` or `http://` to a host that is not this one |
 * | `unreachable` | name, network, TLS or proxy failed |
 * | `upgrade` | something between here and the brain answered the WebSocket upgrade with an HTTP status |
 * | `handshake` | the upgrade or the hello was not answered in time |
 * | `lost` | the connection ended before the answer came |
 */
export type LinkErrorCode = 'url' | 'insecure' | 'unreachable' | 'upgrade' | 'handshake' | 'lost';

/** The one error of this folder; `message` says what to do. */
export class LinkError extends Error {
  override readonly name = 'LinkError';
  readonly code: LinkErrorCode;
  constructor(code: LinkErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
