import { fatal, nonFatal, type ProtocolError } from "../../../frame/error.ts";
import { MESSAGE_ID_BYTES } from "../../../frame/frame.ts";
import { countAscending, expandSequence, readPrefix, readSequence } from "../../../frame/id.ts";
import type { Line } from "../../../frame/line.ts";
import type { Channel } from "../../topics/channel/channel.ts";
import { NOT_IN_FLIGHT } from "../../topics/channel/in-flight.ts";
import { STATE_CLOSING, STATE_SUBSCRIBED } from "../client-state.ts";
import type { Connection } from "../connection.ts";
import type { Command } from "./command.ts";

const LF = 0x0a;
const SPACE = 0x20;
/** "FIN " + id + "\n", the commonest line there is. */
const FIN_ID_OFFSET = 4;
export const FIN_LINE_BYTES = FIN_ID_OFFSET + MESSAGE_ID_BYTES + 1;

/** `FIN id\n`: the message is done with. https://nsq.io/clients/tcp_protocol_spec.html#fin */
export const FIN: Command = {
  execute(connection: Connection, line: Line): ProtocolError | undefined {
    const refused = checkMessageCommand(connection, "FIN", line, 2);
    if (refused !== undefined) return refused;
    const channel = connection.channel as Channel;
    const sequence = sequenceAt(channel, line.buffer, line.start(1));
    const failure = sequence < 0 ? NOT_IN_FLIGHT : channel.finish(connection, sequence);
    if (failure !== undefined) return messageFailed("FIN", line.buffer, line.start(1), failure);
    connection.finishCount++;
    return undefined;
  },
};

/** Whether a whole FIN line as clients write it begins at an offset. The caller has seen that so many bytes are there. */
export function isFinLine(data: Buffer, at: number): boolean {
  return (
    data[at] === 0x46 && data[at + 1] === 0x49 && data[at + 2] === 0x4e && data[at + 3] === SPACE && data[at + FIN_LINE_BYTES - 1] === LF
  );
}

/**
 * FINs without ado, as many in a row as there are: a consumer finishes what came in one run in the order it came.
 *
 * @param view of the same bytes; undefined: there is but one line
 * @returns how many lines were taken; 0 when the first one's id, or anything else, asks for the command in full
 */
export function finishLines(connection: Connection, data: Buffer, view: DataView | undefined, at: number, end: number): number {
  const { channel } = connection;
  const sequence = channel === undefined ? -1 : sequenceAt(channel, data, at + FIN_ID_OFFSET);
  if (channel === undefined || sequence < 0) return 0;
  const count = view === undefined ? 1 : countAscending(view, at, end, FIN_LINE_BYTES, FIN_ID_OFFSET, sequence);
  let finished = channel.finishRun(connection, sequence, count);
  if (finished === 0 && channel.finish(connection, sequence) === undefined) finished = 1;
  connection.finishCount += finished;
  return finished;
}

/** The sequence in `channel` that the id at `at` means; -1 if no message of its topic can have that id. */
export function sequenceAt(channel: Channel, bytes: Buffer, at: number): number {
  if (readPrefix(bytes, at) !== channel.topic.log.prefix) return -1;
  const low = readSequence(bytes, at);
  return low < 0 ? -1 : expandSequence(low, channel.nearSequence);
}

/** What FIN, REQ and TOUCH check alike, in nsqd's order: the state, the parameters, the id's length. */
export function checkMessageCommand(connection: Connection, command: string, line: Line, words: number): ProtocolError | undefined {
  const { state } = connection;
  if ((state !== STATE_SUBSCRIBED && state !== STATE_CLOSING) || connection.channel === undefined) {
    return fatal("E_INVALID", `cannot ${command} in current state`);
  }
  if (line.words < words) return fatal("E_INVALID", `${command} insufficient number of params`);
  if (line.length(1) !== MESSAGE_ID_BYTES) return fatal("E_INVALID", "invalid message ID");
  return undefined;
}

export function messageFailed(command: string, bytes: Buffer, at: number, failure: Error): ProtocolError {
  const id = bytes.toString("latin1", at, at + MESSAGE_ID_BYTES);
  return nonFatal(`E_${command}_FAILED`, `${command} ${id} failed ${failure.message}`);
}
