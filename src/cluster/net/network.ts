import type { Writer } from "../../net/writer.ts";

/**
 * Why a connection is closed:
 * - `closed`: one of its ends closed it, after everything was sent
 * - `reset`: it was cut, by the other end's abort() or its end, or by something in between
 * - `refused`: nobody listens there; the machine said so
 * - `failed`: anything else, for instance a name that is not known, or a certificate that is not trusted
 * - `aborted`: our own abort()
 */
export type CloseReason = "closed" | "reset" | "refused" | "failed" | "aborted";

/** What a connection tells its owner. Never from within a call of the owner's to the connection. */
export interface ConnectionEvents {
  /** It can be written to. For an accepted connection this is not called, as it is open from its beginning. */
  onOpen(): void;
  /** The buffer is the owner's. */
  onData(bytes: Buffer): void;
  /** After a write that did not accept everything: it accepts bytes again. */
  onDrain(): void;
  /** Called once, and last. @param why for a log line */
  onClosed(reason: CloseReason, why: string): void;
}

/** A connection to another process. Bytes come whole and in order, or it is closed. */
export interface Connection extends Writer {
  /** The other end, for log lines. */
  readonly remote: string;
  /** Nothing before onOpen() and after close() is accepted. */
  write(bytes: Uint8Array, offset: number, length: number): number;
  /** No onData() until resume(). The other end can soon send no more. */
  pause(): void;
  resume(): void;
  /** Closes it once everything is sent that was accepted. If the other end does not go along, it is for the owner to abort it. */
  close(): void;
  /** Cuts it now, also while it is being opened. How long that may take is for the owner to limit. */
  abort(): void;
}

export interface NetworkListener {
  /** With the port that it has. */
  readonly address: string;
  /** Accepts no more connections; those that are open stay. */
  close(): void;
}

/** How the processes of a cluster reach each other. Addresses are `host:port`; in the simulator they are names. */
export interface Network {
  /**
   * @param onConnection is called with each connection that was accepted, and gives what it tells
   * @throws StartError if it cannot listen there
   */
  listen(address: string, onConnection: (connection: Connection) => ConnectionEvents): NetworkListener;
  connect(address: string, events: ConnectionEvents): Connection;
}
