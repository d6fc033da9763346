import type { Connection } from "../connection.ts";

/** Takes bytes on their way to a client: a socket, or a layer of compression above it. */
export interface Writer {
  /** Takes what it can and keeps nothing of the rest. @returns how many bytes; 0 or less when none, until the next drain */
  write(bytes: Uint8Array, offset: number, length: number): number;
}

/** One client's connection to the outside. A Bun socket is one as it stands, with TLS or without. */
export interface Transport extends Writer {
  /** Sends what was written, then ends the writing side. */
  end(): void;
  /** Cuts the connection now. */
  terminate(): void;
  pause(): void;
  resume(): void;
}

/** A socket as it was accepted, before TLS. */
export type PlainTransport = Transport & Pick<Bun.Socket<Connection | undefined>, "upgradeTLS">;
