import { fatal, type ProtocolError } from "../../../frame/error.ts";
import type { Line } from "../../../frame/line.ts";
import type { Channel } from "../../topics/channel/channel.ts";
import { NOT_IN_FLIGHT } from "../../topics/channel/in-flight.ts";
import type { ConsumingClient } from "./client.ts";
import type { Command } from "./command.ts";
import { isCurrentDelivery } from "./delivery-token.ts";
import { checkMessageCommand, messageFailed, partitionAt, sequenceAt } from "./fin.ts";

/**
 * `REQ id ms [attempts]\n`: the message is delivered again after a delay. The attempts are a delivery token.
 * https://nsq.io/clients/tcp_protocol_spec.html#req
 */
export const REQ: Command = {
  execute(client: ConsumingClient, line: Line): ProtocolError | undefined {
    const refused = checkMessageCommand(client, "REQ", line, 3);
    if (refused !== undefined) return refused;
    const delayMs = line.decimal(2);
    if (Number.isNaN(delayMs)) return fatal("E_INVALID", `REQ could not parse timeout ${line.text(2)}`);
    const at = line.start(1);
    const partition = partitionAt(client.channel as Channel, line.buffer, at);
    const sequence = sequenceAt(partition, line.buffer, at);
    const isCurrent = sequence >= 0 && isCurrentDelivery(client, line, 3, partition, sequence);
    const failure = isCurrent ? partition.requeue(client, sequence, requeueDelay(client, delayMs)) : NOT_IN_FLIGHT;
    if (failure !== undefined) return messageFailed("REQ", line.buffer, at, failure);
    client.requeueCount++;
    return undefined;
  },
};

/** The delay that a REQ gets which asks for `delayMs`. */
export function requeueDelay(client: ConsumingClient, delayMs: number): number {
  const longest = client.options.maxReqTimeoutMs;
  const bounded = Math.max(0, Math.min(delayMs, longest));
  if (bounded !== delayMs) {
    const { logger, remoteAddress } = client;
    logger.info(`PROTOCOL(V2): [${remoteAddress}] REQ timeout ${delayMs} out of range 0-${longest}. Setting to ${bounded}`, client);
  }
  return bounded;
}
