import { fatal, type ProtocolError } from "../../../../frame/error.ts";
import type { Line } from "../../../../frame/line.ts";
import { MessageBatch } from "../../../../frame/message-batch.ts";
import { MpubCheck } from "../../../../frame/mpub.ts";
import type { PublishingClient } from "../client.ts";
import { type BodyCommand, type CommandResult, SIZED_BODY } from "../command.ts";
import { LENGTH_BYTES, selectKeyed, selectTarget, TRACE_ID_BYTES } from "./pub.ts";

const WORD = 4;
/** Checks a body that is whole. */
const check = new MpubCheck();
/** The messages of one batch after the other. */
const batch = new MessageBatch();

/** What MPUB, MPUB_TRACE and MPUB_EXT have in common. The whole body is read before anything in it is refused. */
const BATCH: Omit<BodyCommand, "body"> = {
  ...SIZED_BODY,

  execute(client: PublishingClient, line: Line): ProtocolError | undefined {
    return selectTarget(client, line);
  },

  size(client: PublishingClient, size: number): ProtocolError | undefined {
    if (size <= 0) return fatal("E_BAD_BODY", `invalid body size ${size}`);
    const limit = client.options.maxBodySizeBytes;
    if (size > limit) return fatal("E_BAD_BODY", `body too big ${size} > ${limit}`);
    return client.publisher.checkTarget();
  },

  truncated(hasSize: boolean): ProtocolError {
    return hasSize ? fatal("E_BAD_MESSAGE", "MPUB failed to read message body") : fatal("E_BAD_BODY", "MPUB failed to read body size");
  },
};

/** `MPUB topic [partition]\n size count { size body }`: several messages, all or none, from one of Youzan's clients. */
export const YOUZAN_MPUB: BodyCommand = {
  ...BATCH,

  execute(client: PublishingClient, line: Line): ProtocolError | undefined {
    return client.publisher.idempotent ? selectKeyed(client, line, "MPUB") : selectTarget(client, line);
  },

  body(client: PublishingClient, bytes: Buffer, from: number, to: number): CommandResult {
    const { publisher } = client;
    return (
      publisher.checkPermission("MPUB") ?? checkLengths(client, bytes, from, to) ?? publisher.publishBatchTo(bytes, from, to, check.count)
    );
  },
};

/** `MPUB_TRACE topic [partition]\n size count { size trace-id body }`. The answer says where the first message is. */
export const MPUB_TRACE: BodyCommand = {
  ...BATCH,

  body(client: PublishingClient, bytes: Buffer, from: number, to: number): CommandResult {
    const { publisher } = client;
    const refused = publisher.checkPermission("MPUB_TRACE") ?? checkLengths(client, bytes, from, to);
    if (refused !== undefined) return refused;
    batch.reset();
    for (let at = from + WORD; at < to; ) {
      const body = at + WORD;
      const end = body + bytes.readInt32BE(at);
      if (end - body <= TRACE_ID_BYTES) {
        return fatal("E_BAD_MESSAGE", `MPUB invalid message(${batch.count}) body size ${end - body} for tracing`);
      }
      batch.addTraced(bytes.readInt32BE(body), bytes.readInt32BE(body + TRACE_ID_BYTES / 2), body + TRACE_ID_BYTES, end);
      at = end;
    }
    return publisher.publishMessages(bytes, batch, true);
  },
};

/**
 * `MPUB_EXT topic [partition]\n size count { size header-length header body }`. A message may have no header. Without a partition
 * the messages with a key go to the partitions of their keys, and are all or none of them published in each.
 */
export const MPUB_EXT: BodyCommand = {
  ...BATCH,

  body(client: PublishingClient, bytes: Buffer, from: number, to: number): CommandResult {
    const { publisher } = client;
    const refused = publisher.checkPermission("MPUB_EXT") ?? checkLengths(client, bytes, from, to);
    if (refused !== undefined) return refused;
    batch.reset();
    const { goesByKey } = publisher;
    const unwanted = publisher.checkHeaders();
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = from + WORD; at < to; ) {
      const length = at + WORD;
      const end = length + bytes.readInt32BE(at);
      const textFrom = length + LENGTH_BYTES;
      const textTo = end - length <= LENGTH_BYTES ? end : textFrom + bytes.readUInt16BE(length);
      if (textTo >= end) return fatal("E_BAD_MESSAGE", `MPUB invalid message(${batch.count}) body size ${end - length}`);
      const wrong = batch.addWithJson(bytes, textFrom, textTo, end, goesByKey, view);
      if (wrong !== undefined) return wrong;
      if (unwanted !== undefined && batch.hasHeaders) return unwanted;
      at = end;
    }
    return publisher.publishMessages(bytes, batch, false);
  },
};

/** Checks that the messages in [from, to) are as many and as long as is said, and nothing more. */
function checkLengths({ options }: PublishingClient, bytes: Buffer, from: number, to: number): ProtocolError | undefined {
  const { maxMsgSizeBytes, maxBodySizeBytes } = options;
  if (!check.reset().resume(bytes, from, to, maxMsgSizeBytes, maxBodySizeBytes)) {
    return fatal("E_BAD_MESSAGE", "MPUB failed to read message body");
  }
  if (check.error !== undefined) return check.error;
  return check.offset === to - from ? undefined : fatal("E_BAD_BODY", `MPUB invalid body size ${to - from}`);
}
