import { fatal, type ProtocolError } from "../../../frame/error.ts";
import type { Line } from "../../../frame/line.ts";
import type { Client, PublishingClient } from "./client.ts";
import { type BodyCommand, type CommandResult, checkMessageSize, noteKey, SIZED_BODY } from "./command.ts";

/**
 * `PUB topic [key]\n size body`: one message. The key is accepted from clients that negotiated idempotency.
 * https://nsq.io/clients/tcp_protocol_spec.html#pub
 */
export const PUB: BodyCommand = {
  ...SIZED_BODY,

  execute(client: PublishingClient, line: Line): ProtocolError | undefined {
    if (line.words < 2) return fatal("E_INVALID", "PUB insufficient number of parameters");
    return client.publisher.selectTopic("PUB", line) ?? noteKey(client, "PUB", line, 2);
  },

  size(client: Client, size: number): ProtocolError | undefined {
    return checkMessageSize(client, "PUB", size);
  },

  body({ publisher }: PublishingClient, bytes: Buffer, from: number, to: number): CommandResult {
    return publisher.publish(bytes, from, to);
  },

  truncated(hasSize: boolean): ProtocolError {
    return fatal("E_BAD_MESSAGE", `PUB failed to read message body${hasSize ? "" : " size"}`);
  },
};
