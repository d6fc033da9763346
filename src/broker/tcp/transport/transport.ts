import type { Writer } from "../../../net/writer.ts";
import type { Connection } from "../connection.ts";

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
