import { fatal, type ProtocolError } from "../../../frame/error.ts";
import type { Line } from "../../../frame/line.ts";
import type { Client, PublishingClient } from "./client.ts";
import { type BodyCommand, type CommandResult, checkMessageSize, noteKey, SIZED_BODY } from "./command.ts";

/** `DPUB topic ms [key]\n size body`: one message, delivered after a delay. https://nsq.io/clients/tcp_protocol_spec.html#dpub */
export const DPUB: BodyCommand = {
  ...SIZED_BODY,

  execute(client: PublishingClient, line: Line): ProtocolError | undefined {
    const { publisher } = client;
    if (line.words < 3) return fatal("E_INVALID", "DPUB insufficient number of parameters");
    const refused = publisher.selectTopic("DPUB", line);
    if (refused !== undefined) return refused;
    return noteDelay(client, "DPUB", line) ?? noteKey(client, "DPUB", line, 3);
  },

  size(client: Client, size: number): ProtocolError | undefined {
    return checkMessageSize(client, "DPUB", size);
  },

  body({ publisher }: PublishingClient, bytes: Buffer, from: number, to: number): CommandResult {
    return publisher.publishDeferred(bytes, from, to);
  },

  truncated(hasSize: boolean): ProtocolError {
    return fatal("E_BAD_MESSAGE", `DPUB failed to read message body${hasSize ? "" : " size"}`);
  },
};

/** Notes the delay in the line of a deferred publish. */
export function noteDelay({ publisher, options }: PublishingClient, command: string, line: Line): ProtocolError | undefined {
  const deferMs = line.decimal(2);
  if (Number.isNaN(deferMs)) return fatal("E_INVALID", `${command} could not parse timeout ${line.text(2)}`);
  const longest = options.maxReqTimeoutMs;
  if (deferMs < 0 || deferMs > longest) {
    return fatal("E_INVALID", `${command} timeout ${line.uint64(2)} out of range 0-${Math.trunc(longest)}`);
  }
  publisher.deferMs = deferMs;
  return undefined;
}
