import { fatal, type ProtocolError } from "../../../frame/error.ts";
import type { Line } from "../../../frame/line.ts";
import type { Client, PublishingClient } from "./client.ts";
import { type BodyCommand, type CommandResult, noteKey } from "./command.ts";

/** `MPUB topic [key]\n size count { size body }`: several messages, all or none. https://nsq.io/clients/tcp_protocol_spec.html#mpub */
export const MPUB: BodyCommand = {
  execute(client: PublishingClient, line: Line): CommandResult {
    const { publisher } = client;
    if (line.words < 2) return fatal("E_INVALID", "MPUB insufficient number of parameters");
    const badTopic = publisher.selectTopic("MPUB", line);
    // nsqd says the code twice here.
    if (badTopic !== undefined) return fatal(badTopic.code, `${badTopic.code} ${badTopic.text}`);
    // Unlike PUB, an MPUB makes its topic before its body is there (nsqd: protocol_v2.go).
    return publisher.prepareBatch() ?? noteKey(client, "MPUB", line, 2);
  },

  size({ options }: Client, size: number): ProtocolError | undefined {
    if (size <= 0) return fatal("E_BAD_BODY", `MPUB invalid body size ${size}`);
    const limit = options.maxBodySizeBytes;
    if (size > limit) return fatal("E_BAD_BODY", `MPUB body too big ${size} > ${limit}`);
    return undefined;
  },

  measure(client: PublishingClient, bytes: Buffer, from: number, to: number, _size: number, first: boolean): number | ProtocolError {
    const { maxMsgSizeBytes, maxBodySizeBytes } = client.options;
    const { batch } = client.publisher;
    const check = first ? batch.reset() : batch;
    if (!check.resume(bytes, from, to, maxMsgSizeBytes, maxBodySizeBytes)) return 0;
    return check.error ?? check.offset;
  },

  needed({ publisher }: PublishingClient): number {
    return publisher.batch.needed;
  },

  body({ publisher }: PublishingClient, bytes: Buffer, from: number, to: number): CommandResult {
    return publisher.publishBatch(bytes, from, to);
  },

  truncated(hasSize: boolean, { publisher }: PublishingClient): ProtocolError {
    if (!hasSize) return fatal("E_BAD_BODY", "MPUB failed to read body size");
    const { count, checked, offset, needed } = publisher.batch;
    if (count < 0) return fatal("E_BAD_BODY", "MPUB failed to read message count");
    if (needed === offset + 4) return fatal("E_BAD_MESSAGE", `MPUB failed to read message(${checked}) body size`);
    return fatal("E_BAD_MESSAGE", "MPUB failed to read message body");
  },
};
