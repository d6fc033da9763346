import { fatal, nonFatal, type ProtocolError } from "../../../frame/error.ts";
import { MESSAGE_ID_BYTES } from "../../../frame/frame.ts";
import { countAscending, expandSequence, readPrefix, readSequence } from "../../../frame/id.ts";
import type { Line } from "../../../frame/line.ts";
import type { Channel } from "../../topics/channel/channel.ts";
import type { ChannelPartition } from "../../topics/channel/channel-partition.ts";
import { NOT_IN_FLIGHT } from "../../topics/channel/in-flight.ts";
import { type ConsumingClient, STATE_CLOSING, STATE_SUBSCRIBED } from "./client.ts";
import type { Command } from "./command.ts";
import { isCurrentDelivery } from "./delivery-token.ts";

const LF = 0x0a;
const SPACE = 0x20;
/** "FIN " + id + "\n": the commonest line. */
const FIN_ID_OFFSET = 4;
export const FIN_LINE_BYTES = FIN_ID_OFFSET + MESSAGE_ID_BYTES + 1;

/**
 * `FIN id [attempts]\n`: the consumer is done with the message. The attempts are a delivery token.
 * https://nsq.io/clients/tcp_protocol_spec.html#fin
 */
export const FIN: Command = {
  execute(client: ConsumingClient, line: Line): ProtocolError | undefined {
    const refused = checkMessageCommand(client, "FIN", line, 2);
    if (refused !== undefined) return refused;
    const at = line.start(1);
    const partition = partitionAt(client.channel as Channel, line.buffer, at);
    const sequence = sequenceAt(partition, line.buffer, at);
    const isCurrent = sequence >= 0 && isCurrentDelivery(client, line, 2, partition, sequence);
    const failure = isCurrent ? partition.finish(client, sequence) : NOT_IN_FLIGHT;
    if (failure !== undefined) return messageFailed("FIN", line.buffer, at, failure);
    client.finishCount++;
    return undefined;
  },
};

/** Whether a FIN line as clients write it begins at `at`. The caller has checked that FIN_LINE_BYTES are there. */
export function isFinLine(data: Buffer, at: number): boolean {
  return (
    data[at] === 0x46 && data[at + 1] === 0x49 && data[at + 2] === 0x4e && data[at + 3] === SPACE && data[at + FIN_LINE_BYTES - 1] === LF
  );
}

/**
 * Executes FIN lines without the general way of a command line, as many as follow each other: a consumer usually finishes
 * the messages of a run in the order in which they came.
 *
 * @param view of the same bytes; undefined if there is only one line
 * @returns how many lines were executed; 0 if the first one has to go the general way, which also finds its error
 */
export function finishLines(client: ConsumingClient, data: Buffer, view: DataView | undefined, at: number, end: number): number {
  const { channel } = client;
  if (channel === undefined) return 0;
  const partition = partitionAt(channel, data, at + FIN_ID_OFFSET);
  const sequence = sequenceAt(partition, data, at + FIN_ID_OFFSET);
  if (sequence < 0) return 0;
  const count = view === undefined ? 1 : countAscending(view, at, end, FIN_LINE_BYTES, FIN_ID_OFFSET, sequence);
  let finished = partition.finishRun(client, sequence, count);
  if (finished === 0 && partition.finish(client, sequence) === undefined) finished = 1;
  client.finishCount += finished;
  return finished;
}

/** The partition of the message with the id at `at`. */
export function partitionAt(channel: Channel, bytes: Buffer, at: number): ChannelPartition {
  return channel.partitions.length === 1 ? channel.partitions[0] : channel.partitionOf(readPrefix(bytes, at));
}

/** The sequence of the message with the id at `at`; -1 if a channel has no message with that id in flight in the partition. */
export function sequenceAt(partition: ChannelPartition, bytes: Buffer, at: number): number {
  const prefix = readPrefix(bytes, at);
  const low = readSequence(bytes, at);
  if (low < 0) return -1;
  const sequence = expandSequence(low, partition.nearSequence);
  return prefix === partition.partition.log.prefix || partition.hasInFlight(prefix, sequence) ? sequence : -1;
}

/** Checks for FIN, REQ and TOUCH that the client consumes. */
export function checkMessageState({ state, channel }: ConsumingClient, command: string): ProtocolError | undefined {
  if ((state === STATE_SUBSCRIBED || state === STATE_CLOSING) && channel !== undefined) return undefined;
  return fatal("E_INVALID", `cannot ${command} in current state`);
}

/** Checks for FIN, REQ and TOUCH, in nsqd's order: the state, the number of parameters, the length of the id. */
export function checkMessageCommand(client: ConsumingClient, command: string, line: Line, words: number): ProtocolError | undefined {
  const refused = checkMessageState(client, command);
  if (refused !== undefined) return refused;
  if (line.words < words) return fatal("E_INVALID", `${command} insufficient number of params`);
  if (line.length(1) !== MESSAGE_ID_BYTES) return fatal("E_INVALID", "invalid message ID");
  return undefined;
}

export function messageFailed(command: string, bytes: Buffer, at: number, failure: Error): ProtocolError {
  const id = bytes.toString("latin1", at, at + MESSAGE_ID_BYTES);
  return nonFatal(`E_${command}_FAILED`, `${command} ${id} failed ${failure.message}`);
}
