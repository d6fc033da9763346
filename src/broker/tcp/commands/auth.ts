import { fatal, type ProtocolError } from "../../../frame/error.ts";
import type { Line } from "../../../frame/line.ts";
import { STATE_INIT } from "../client-state.ts";
import type { Connection } from "../connection.ts";
import { type BodyCommand, type CommandResult, checkBodySize, SIZED_BODY } from "./command.ts";

/** `AUTH\n size secret`: shows who the client is, to a broker with auth servers. https://nsq.io/clients/tcp_protocol_spec.html#auth */
export const AUTH: BodyCommand = {
  ...SIZED_BODY,

  execute(connection: Connection, line: Line): ProtocolError | undefined {
    if (connection.state !== STATE_INIT) return fatal("E_INVALID", "cannot AUTH in current state");
    if (line.words !== 1) return fatal("E_INVALID", "AUTH invalid number of parameters");
    return undefined;
  },

  size(connection: Connection, size: number): ProtocolError | undefined {
    return checkBodySize(connection, "AUTH", size);
  },

  body(connection: Connection, bytes: Buffer, from: number, to: number): CommandResult {
    if (connection.auth === undefined) return fatal("E_AUTH_DISABLED", "AUTH disabled");
    return connection.auth.authenticate(bytes.subarray(from, to));
  },

  truncated(hasSize: boolean): ProtocolError {
    return fatal("E_BAD_BODY", `AUTH failed to read body${hasSize ? "" : " size"}`);
  },
};
