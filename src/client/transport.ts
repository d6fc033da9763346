/** Where a broker is: a host and a port, or the path of a unix socket. */
export type RemoteAddress = { readonly host: string; readonly port: number } | { readonly path: string };

/** How a connection is encrypted. PEM texts. */
export interface TlsOptions {
  /** Certificates that vouch for the broker's. By default those that the runtime trusts. */
  ca?: string | Uint8Array | readonly (string | Uint8Array)[];
  /** The client's certificate and its key, where the broker asks for one. */
  cert?: string | Uint8Array;
  key?: string | Uint8Array;
  passphrase?: string;
  /** The name in the broker's certificate. By default the host of its address. */
  serverName?: string;
  /** False accepts any certificate, which protects from nobody who can change what is sent. Default true. */
  rejectUnauthorized?: boolean;
}

/** What a socket reports. No call is made before connect() has returned, and none after onClose(). */
export interface SocketEvents {
  onOpen(): void;
  /** @param bytes belong to the receiver */
  onData(bytes: Uint8Array): void;
  /** All bytes that waited have been sent. */
  onDrain(): void;
  /** TLS is up. */
  onSecure(): void;
  /** @param error undefined if the broker ended the connection */
  onClose(error: Error | undefined): void;
}

/** A socket to a broker. */
export interface ClientSocket {
  /**
   * Sends bytes in the order of the calls. What the system does not take waits here.
   *
   * @returns whether these bytes and all earlier ones are not needed any more, so that the caller may overwrite them
   */
  write(bytes: Uint8Array): boolean;
  /** How many bytes wait to be sent. */
  readonly waitingBytes: number;
  /** Starts TLS. Nothing may be written until onSecure(). */
  startTls(tls: TlsOptions, serverName: string): void;
  /** Sends what waits, then closes. */
  end(): void;
  /** Closes now. */
  destroy(): void;
}

/** What the library needs of a runtime. */
export interface Transport {
  connect(address: RemoteAddress, events: SocketEvents): ClientSocket;
  /** The name of this machine. */
  hostname(): string;
}

let standard: Transport | undefined;

/** Sets the transport for all that name none. The package's entry for each runtime does it. */
export function setStandardTransport(transport: Transport): void {
  standard = transport;
}

/** @throws Error if neither entry of the package was loaded */
export function standardTransport(): Transport {
  if (standard === undefined) throw new Error("import the client from bunsq/client, or set the option transport");
  return standard;
}
