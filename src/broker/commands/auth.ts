import { fatal, type ProtocolError } from "../../frame/error.ts";
import type { Line } from "../../frame/line.ts";
import { type Connection, STATE_INIT } from "../connection.ts";
import { type BodyCommand, SIZED_BODY } from "./command.ts";

/** `AUTH\n size secret`. No authority can be configured yet, so the answer is nsqd's for that. https://nsq.io/clients/tcp_protocol_spec.html#auth */
export const AUTH: BodyCommand = {
  ...SIZED_BODY,

  execute(connection: Connection, line: Line): ProtocolError | undefined {
    if (connection.state !== STATE_INIT) return fatal("E_INVALID", "cannot AUTH in current state");
    if (line.words !== 1) return fatal("E_INVALID", "AUTH invalid number of parameters");
    return undefined;
  },

  size(connection: Connection, size: number): ProtocolError | undefined {
    const limit = connection.broker.options.maxBodySizeBytes;
    if (size > limit) return fatal("E_BAD_BODY", `AUTH body too big ${size} > ${limit}`);
    if (size <= 0) return fatal("E_BAD_BODY", `AUTH invalid body size ${size}`);
    return undefined;
  },

  body(): ProtocolError {
    return fatal("E_AUTH_DISABLED", "AUTH disabled");
  },

  truncated(hasSize: boolean): ProtocolError {
    return fatal("E_BAD_BODY", `AUTH failed to read body${hasSize ? "" : " size"}`);
  },
};
