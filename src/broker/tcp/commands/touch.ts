import type { ProtocolError } from "../../../frame/error.ts";
import type { Line } from "../../../frame/line.ts";
import type { Channel } from "../../topics/channel/channel.ts";
import { NOT_IN_FLIGHT } from "../../topics/channel/in-flight.ts";
import type { ConsumingClient } from "./client.ts";
import type { Command } from "./command.ts";
import { checkMessageCommand, messageFailed, sequenceAt } from "./fin.ts";

/** `TOUCH id\n`: the consumer needs more time for the message. https://nsq.io/clients/tcp_protocol_spec.html#touch */
export const TOUCH: Command = {
  execute(client: ConsumingClient, line: Line): ProtocolError | undefined {
    const refused = checkMessageCommand(client, "TOUCH", line, 2);
    if (refused !== undefined) return refused;
    const channel = client.channel as Channel;
    const sequence = sequenceAt(channel, line.buffer, line.start(1));
    const failure = sequence < 0 ? NOT_IN_FLIGHT : channel.touch(client, sequence, client.msgTimeoutMs);
    return failure === undefined ? undefined : messageFailed("TOUCH", line.buffer, line.start(1), failure);
  },
};
