import { fatal, nonFatal, type ProtocolError } from "../../../../frame/error.ts";
import { MESSAGE_ID_BYTES } from "../../../../frame/frame.ts";
import { expandSequence } from "../../../../frame/id.ts";
import type { Line } from "../../../../frame/line.ts";
import { partitionInId, sequenceInId } from "../../../../frame/youzan.ts";
import type { Channel } from "../../../topics/channel/channel.ts";
import type { ChannelPartition } from "../../../topics/channel/channel-partition.ts";
import { messageStatus } from "../../../topics/inspect/message-status.ts";
import type { CommandClient, ConsumingClient } from "../client.ts";
import type { Command, CommandResult } from "../command.ts";
import { isCurrentDelivery } from "../delivery-token.ts";
import { checkMessageState, FIN } from "../fin.ts";
import { REQ, requeueDelay } from "../req.ts";
import { TOUCH } from "../touch.ts";

const INVALID_ID = fatal("E_INVALID", "Invalid Message ID");
const UNKNOWN = "Message ID not in flight";

/** The message that a line names. One object serves all lines. */
const named: { partition: ChannelPartition | undefined; sequence: number } = { partition: undefined, sequence: 0 };

/** `FIN id [attempts]\n` with an id of 16 bytes. */
export const YOUZAN_FIN: Command = {
  execute(client: CommandClient, line: Line): CommandResult {
    if (!client.hasRawIds) return FIN.execute(client, line);
    const refused = checkMessageState(client, "FIN") ?? findMessage(client, line, 2);
    if (refused !== undefined) return refused;
    const { partition, sequence } = named;
    if (partition?.finish(client, sequence) !== undefined || partition === undefined) {
      const why = partition === undefined ? UNKNOWN : reason(client, partition, sequence, false);
      return nonFatal("E_FIN_FAILED", `FIN ${idText(line)} failed ErrType:7 ErrCode:0 : ${why}`);
    }
    client.finishCount++;
    return undefined;
  },
};

/** `REQ id ms [attempts]\n` with an id of 16 bytes. */
export const YOUZAN_REQ: Command = {
  execute(client: CommandClient, line: Line): CommandResult {
    if (!client.hasRawIds) return REQ.execute(client, line);
    const refused = checkMessageState(client, "REQ") ?? (line.words < 3 ? INVALID_ID : findMessage(client, line, 3));
    if (refused !== undefined) return refused;
    const delayMs = line.decimal(2);
    if (Number.isNaN(delayMs)) return fatal("E_INVALID", `REQ could not parse timeout ${line.text(1)}, ${line.text(2)}`);
    const { partition, sequence } = named;
    if (partition?.requeue(client, sequence, requeueDelay(client, delayMs)) !== undefined || partition === undefined) {
      const why = partition === undefined ? UNKNOWN : reason(client, partition, sequence, true);
      return nonFatal("E_REQ_FAILED", `REQ ${idText(line)} failed ${why}`);
    }
    client.requeueCount++;
    return undefined;
  },
};

/** `TOUCH id [attempts]\n` with an id of 16 bytes. */
export const YOUZAN_TOUCH: Command = {
  execute(client: CommandClient, line: Line): CommandResult {
    if (!client.hasRawIds) return TOUCH.execute(client, line);
    const refused = checkMessageState(client, "TOUCH") ?? findMessage(client, line, 2);
    if (refused !== undefined) return refused;
    const { partition, sequence } = named;
    if (partition?.touch(client, sequence, client.msgTimeoutMs) !== undefined || partition === undefined) {
      const why = partition === undefined ? UNKNOWN : reason(client, partition, sequence, false);
      return nonFatal("E_TOUCH_FAILED", `TOUCH ${idText(line)} failed ${why}`);
    }
    return undefined;
  },
};

/**
 * Finds the message whose id is in a line. Only the first half of the id tells which it is.
 *
 * @param token word of the line with the delivery token. One of an earlier delivery is as if there were no such message
 */
function findMessage(client: ConsumingClient, line: Line, token: number): ProtocolError | undefined {
  if (line.length(1) !== MESSAGE_ID_BYTES) return INVALID_ID;
  const index = partitionInId(line.buffer, line.start(1));
  if (index < 0) return INVALID_ID;
  const sequence = sequenceInId(line.buffer, line.start(1));
  named.partition = undefined;
  if (sequence < 0) return undefined;
  const part = (client.channel as Channel).partAt(index);
  if (part === undefined) return undefined;
  named.sequence = expandSequence(sequence, part.nearSequence);
  if (isCurrentDelivery(client, line, token, part, named.sequence)) named.partition = part;
  return undefined;
}

/** Why the client cannot do what it wants with a message. */
function reason({ id }: ConsumingClient, partition: ChannelPartition, sequence: number, isRequeue: boolean): string {
  const { state, owner } = messageStatus(partition, sequence);
  if (state === "deferred") return isRequeue ? "Message is deferred" : `client does not own message : 0 vs ${id}`;
  return state === "in_flight" ? `client does not own message : ${owner} vs ${id}` : UNKNOWN;
}

/** The id in a line as Go prints a list of bytes. */
function idText(line: Line): string {
  return `[${line.buffer.subarray(line.start(1), line.end(1)).join(" ")}]`;
}
