import type { ProtocolError } from "../../../frame/error.ts";
import type { Line } from "../../../frame/line.ts";
import type { Channel } from "../../topics/channel/channel.ts";
import { NOT_IN_FLIGHT } from "../../topics/channel/in-flight.ts";
import type { ConsumingClient } from "./client.ts";
import type { Command } from "./command.ts";
import { isCurrentDelivery } from "./delivery-token.ts";
import { checkMessageCommand, messageFailed, partitionAt, sequenceAt } from "./fin.ts";

/**
 * `TOUCH id [attempts]\n`: the consumer needs more time for the message. The attempts are a delivery token.
 * https://nsq.io/clients/tcp_protocol_spec.html#touch
 */
export const TOUCH: Command = {
  execute(client: ConsumingClient, line: Line): ProtocolError | undefined {
    const refused = checkMessageCommand(client, "TOUCH", line, 2);
    if (refused !== undefined) return refused;
    const at = line.start(1);
    const partition = partitionAt(client.channel as Channel, line.buffer, at);
    const sequence = sequenceAt(partition, line.buffer, at);
    const isCurrent = sequence >= 0 && isCurrentDelivery(client, line, 2, partition, sequence);
    const failure = isCurrent ? partition.touch(client, sequence, client.msgTimeoutMs) : NOT_IN_FLIGHT;
    return failure === undefined ? undefined : messageFailed("TOUCH", line.buffer, at, failure);
  },
};
