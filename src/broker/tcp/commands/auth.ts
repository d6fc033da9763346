import { fatal, type ProtocolError } from "../../../frame/error.ts";
import type { Line } from "../../../frame/line.ts";
import { type Client, STATE_INIT } from "./client.ts";
import { type BodyCommand, type CommandResult, checkBodySize, SIZED_BODY } from "./command.ts";

/** `AUTH\n size secret`: tells a broker with auth servers who the client is. https://nsq.io/clients/tcp_protocol_spec.html#auth */
export const AUTH: BodyCommand = {
  ...SIZED_BODY,

  execute(client: Client, line: Line): ProtocolError | undefined {
    if (client.state !== STATE_INIT) return fatal("E_INVALID", "cannot AUTH in current state");
    if (line.words !== 1) return fatal("E_INVALID", "AUTH invalid number of parameters");
    return undefined;
  },

  size(client: Client, size: number): ProtocolError | undefined {
    return checkBodySize(client, "AUTH", size);
  },

  body({ auth }: Client, bytes: Buffer, from: number, to: number): CommandResult {
    if (auth === undefined) return fatal("E_AUTH_DISABLED", "AUTH disabled");
    return auth.authenticate(bytes.subarray(from, to));
  },

  truncated(hasSize: boolean): ProtocolError {
    return fatal("E_BAD_BODY", `AUTH failed to read body${hasSize ? "" : " size"}`);
  },
};
