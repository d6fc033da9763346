import type { Connection } from "./connection.ts";
import type { Handshake, HandshakeListener, PlainTransport } from "./transport/tls.ts";

/** The listener that accepted a connection. */
export interface ConnectionHost {
  /** Whether snappy can be offered on this machine. */
  readonly hasSnappy: boolean;
  /** Calls a connection outside of its socket's events. An exception ends that connection only. */
  guard(connection: Connection, call: (connection: Connection) => void): void;
  /** Starts TLS on a connection's socket. */
  startTls(socket: PlainTransport, connection: Connection, listener: HandshakeListener): Handshake;
  /** Calls checkTime() at a time. @param atMs Infinity: not before it asks again */
  checkAt(connection: Connection, atMs: number): void;
}
