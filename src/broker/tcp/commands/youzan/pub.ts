import { fatal, type ProtocolError } from "../../../../frame/error.ts";
import { encodeHeader, NO_BYTES } from "../../../../frame/header.ts";
import { readJsonHeader } from "../../../../frame/json-header.ts";
import type { Line } from "../../../../frame/line.ts";
import { MessageBatch } from "../../../../frame/message-batch.ts";
import type { PublishingClient } from "../client.ts";
import { type BodyCommand, type CommandResult, noteKey, SIZED_BODY } from "../command.ts";
import { noteDelay } from "../dpub.ts";
import { ANY_PARTITION, readPartition, tooManyWords } from "./parameters.ts";

/** Bytes of a trace id in front of a body. */
export const TRACE_ID_BYTES = 8;
/** Bytes of the length of a JSON header in front of it. */
export const LENGTH_BYTES = 2;

/** The message of one PUB_EXT after the other. */
const message = new MessageBatch();

/** What PUB, PUB_TRACE and PUB_EXT have in common: a topic and a partition that exist, and a body. */
const PUBLISH: Omit<BodyCommand, "body"> = {
  ...SIZED_BODY,

  execute(client: PublishingClient, line: Line): ProtocolError | undefined {
    return selectTarget(client, line);
  },

  size: checkSize,

  truncated(hasSize: boolean): ProtocolError {
    return fatal("E_BAD_MESSAGE", `PUB failed to read message body${hasSize ? "" : " size"}`);
  },
};

/**
 * `PUB topic [partition]\n size body`: one message, from one of Youzan's clients. The topic has to exist. A client that negotiated
 * idempotency sends a key in place of the partition.
 */
export const YOUZAN_PUB: BodyCommand = {
  ...PUBLISH,

  execute(client: PublishingClient, line: Line): ProtocolError | undefined {
    return client.publisher.idempotent ? selectKeyed(client, line, "PUB") : selectTarget(client, line);
  },

  body({ publisher }: PublishingClient, bytes: Buffer, from: number, to: number): CommandResult {
    const refused = publisher.checkPermission("PUB");
    if (refused !== undefined) return refused;
    return publisher.publishTo(NO_BYTES, NO_BYTES, 0, bytes, from, to);
  },
};

/** `PUB_TRACE topic [partition]\n size trace-id body`: one message with an id for traces. The answer says where it is. */
export const PUB_TRACE: BodyCommand = {
  ...PUBLISH,

  size(client: PublishingClient, size: number): ProtocolError | undefined {
    if (size > 0 && size <= TRACE_ID_BYTES) return fatal("E_BAD_BODY", `invalid body size ${size} with trace id enabled`);
    return checkSize(client, size);
  },

  body({ publisher }: PublishingClient, bytes: Buffer, from: number, to: number): CommandResult {
    const refused = publisher.checkPermission("PUB_TRACE");
    if (refused !== undefined) return refused;
    const traceId = bytes.readBigUInt64BE(from);
    return publisher.publishTo(traceHeader(traceId), NO_BYTES, 0, bytes, from + TRACE_ID_BYTES, to, traceId);
  },
};

/** `PUB_EXT topic [partition]\n size header-length header body`: one message with a JSON header. Its key says to which partition it goes if none is named. */
export const PUB_EXT: BodyCommand = {
  ...PUBLISH,

  size(client: PublishingClient, size: number): ProtocolError | undefined {
    if (size > 0 && size <= LENGTH_BYTES) return fatal("E_BAD_BODY", `invalid body size ${size} with ext json header enabled`);
    return checkSize(client, size);
  },

  body({ publisher }: PublishingClient, bytes: Buffer, from: number, to: number): CommandResult {
    const refused = publisher.checkPermission("PUB_EXT");
    if (refused !== undefined) return refused;
    const textFrom = from + LENGTH_BYTES;
    const textTo = textFrom + bytes.readUInt16BE(from);
    if (textTo >= to) return noRoom(to - from);
    message.reset();
    const wrong =
      textTo === textFrom ? readJsonHeader(bytes, textFrom, textTo) : message.addWithJson(bytes, textFrom, textTo, to, publisher.goesByKey);
    if (wrong !== undefined && "code" in wrong) return wrong;
    const traceId = message.lastIsTraced ? message.lastTraceId : undefined;
    return publisher.checkHeaders() ?? publisher.publishMessage(bytes, message, textTo - textFrom, traceId);
  },
};

/**
 * `DPUB_EXT topic ms [partition [key]]\n size header-length header body`: one message with a JSON header, delivered after a delay. It is
 * neither NSQ's nor Youzan's: only clients that negotiated `message_headers` have it.
 */
export const DPUB_EXT: BodyCommand = {
  ...PUB_EXT,

  execute(client: PublishingClient, line: Line): ProtocolError | undefined {
    if (!client.publisher.makesTopics) return fatal("E_INVALID", "invalid command DPUB_EXT");
    if (line.words < 3) return fatal("E_INVALID", "DPUB_EXT insufficient number of parameters");
    return noteDelay(client, "DPUB_EXT", line) ?? selectTarget(client, line, 3);
  },

  body({ publisher }: PublishingClient, bytes: Buffer, from: number, to: number): CommandResult {
    const refused = publisher.checkPermission("DPUB_EXT");
    if (refused !== undefined) return refused;
    const textFrom = from + LENGTH_BYTES;
    const textTo = textFrom + bytes.readUInt16BE(from);
    if (textTo >= to) return noRoom(to - from);
    const read = readJsonHeader(bytes, textFrom, textTo);
    return "code" in read ? read : (publisher.checkHeaders() ?? publisher.deferTo(read.header, read.key, bytes, textTo, to));
  },
};

/** There are no bytes behind the header in a body. */
function noRoom(bodyBytes: number): ProtocolError {
  return fatal("E_BAD_BODY", `invalid body size ${bodyBytes} in ext json header content length`);
}

function checkSize({ options, publisher }: PublishingClient, size: number): ProtocolError | undefined {
  if (size <= 0) return fatal("E_BAD_BODY", `invalid body size ${size}`);
  const limit = options.maxMsgSizeBytes;
  if (size > limit) return fatal("E_BAD_MESSAGE", `message too big ${size} > ${limit}`);
  return publisher.checkTarget();
}

/** The header of a message that only has a trace id. */
function traceHeader(traceId: bigint): Uint8Array {
  return traceId === 0n ? NO_BYTES : encodeHeader({ traceId, key: NO_BYTES, tag: NO_BYTES, text: NO_BYTES });
}

/**
 * Notes the topic and the partition in the line of a publish. Whether they exist is said when the size of its body is there. A client
 * that negotiated `message_headers` and idempotency may have a key behind the partition.
 *
 * @param word where the partition is in the line
 */
export function selectTarget(client: PublishingClient, line: Line, word = 2): ProtocolError | undefined {
  const { publisher } = client;
  if (line.words < 2) return fatal("E_INVALID", "insufficient number of parameters");
  const isKeyed = publisher.makesTopics && publisher.idempotent;
  if (line.words > word + (isKeyed ? 2 : 1)) return tooManyWords(line.text(0));
  const partition = readPartition(line, word);
  if (typeof partition !== "number") return partition;
  return publisher.selectTarget(line, partition) ?? (isKeyed ? noteKey(client, line.text(0), line, word + 1) : undefined);
}

/** Notes the topic and the key in the line of a publish. */
export function selectKeyed(client: PublishingClient, line: Line, command: string): ProtocolError | undefined {
  if (line.words < 2) return fatal("E_INVALID", "insufficient number of parameters");
  return client.publisher.selectTarget(line, ANY_PARTITION) ?? noteKey(client, command, line, 2);
}
