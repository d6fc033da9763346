import { fatal, type ProtocolError } from "../../../frame/error.ts";
import type { Line } from "../../../frame/line.ts";
import type { Connection } from "../connection.ts";
import { type BodyCommand, type CommandResult, publishFailed, takeKey } from "./command.ts";

/** `MPUB topic [key]\n size count { size body }`: several messages, all or none. https://nsq.io/clients/tcp_protocol_spec.html#mpub */
export const MPUB: BodyCommand = {
  execute(connection: Connection, line: Line): CommandResult {
    const { publisher } = connection;
    if (line.words < 2) return fatal("E_INVALID", "MPUB insufficient number of parameters");
    const bad = publisher.nameTopic("MPUB", line);
    // nsqd says the code twice here.
    if (bad !== undefined) return fatal(bad.code, `${bad.code} ${bad.text}`);
    const refused = publisher.mayPublish("MPUB");
    if (refused !== undefined) return refused;
    // Unlike PUB, an MPUB makes its topic before its body is there (nsqd: protocol_v2.go).
    const topic = publisher.namedTopic();
    if (topic instanceof Error) return publishFailed("MPUB", topic);
    return publisher.idempotent ? takeKey(connection, "MPUB", line, 2) : undefined;
  },

  size(connection: Connection, size: number): ProtocolError | undefined {
    if (size <= 0) return fatal("E_BAD_BODY", `MPUB invalid body size ${size}`);
    const limit = connection.broker.options.maxBodySizeBytes;
    if (size > limit) return fatal("E_BAD_BODY", `MPUB body too big ${size} > ${limit}`);
    return undefined;
  },

  measure(connection: Connection, bytes: Buffer, from: number, to: number, _size: number, first: boolean): number | ProtocolError {
    const { maxMsgSizeBytes, maxBodySizeBytes } = connection.broker.options;
    const { mpub } = connection.publisher;
    const check = first ? mpub.reset() : mpub;
    if (!check.resume(bytes, from, to, maxMsgSizeBytes, maxBodySizeBytes)) return 0;
    return check.error ?? check.offset;
  },

  needed(connection: Connection): number {
    return connection.publisher.mpub.needed;
  },

  body(connection: Connection, bytes: Buffer, from: number, to: number): ProtocolError | undefined {
    const { publisher } = connection;
    const topic = publisher.namedTopic();
    if (topic instanceof Error) return publishFailed("MPUB", topic);
    const { count } = publisher.mpub;
    if (publisher.key !== "" && publisher.isRepeated(topic, topic.pendingMpub)) return undefined;
    topic.publishMany(bytes, from + 4, to, count, connection.broker.time);
    publisher.count(topic, count);
    connection.hold(topic.pendingMpub);
    return undefined;
  },

  truncated(hasSize: boolean, connection: Connection): ProtocolError {
    if (!hasSize) return fatal("E_BAD_BODY", "MPUB failed to read body size");
    const { count, walked, offset, needed } = connection.publisher.mpub;
    if (count < 0) return fatal("E_BAD_BODY", "MPUB failed to read message count");
    if (needed === offset + 4) return fatal("E_BAD_MESSAGE", `MPUB failed to read message(${walked}) body size`);
    return fatal("E_BAD_MESSAGE", "MPUB failed to read message body");
  },
};
