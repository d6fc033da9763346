import { fatal, type ProtocolError } from "../../../frame/error.ts";
import type { Line } from "../../../frame/line.ts";
import type { Connection } from "../connection.ts";
import { type BodyCommand, type CommandResult, checkMessageSize, publishFailed, SIZED_BODY, takeKey } from "./command.ts";

/** `DPUB topic ms [key]\n size body`: one message, delivered when so much time has passed. https://nsq.io/clients/tcp_protocol_spec.html#dpub */
export const DPUB: BodyCommand = {
  ...SIZED_BODY,

  execute(connection: Connection, line: Line): ProtocolError | undefined {
    const { publisher } = connection;
    if (line.words < 3) return fatal("E_INVALID", "DPUB insufficient number of parameters");
    const bad = publisher.nameTopic("DPUB", line);
    if (bad !== undefined) return bad;
    const deferMs = line.decimal(2);
    if (Number.isNaN(deferMs)) return fatal("E_INVALID", `DPUB could not parse timeout ${line.text(2)}`);
    const longest = connection.broker.options.maxReqTimeoutMs;
    if (deferMs < 0 || deferMs > longest) return fatal("E_INVALID", `DPUB timeout ${line.uint64(2)} out of range 0-${Math.trunc(longest)}`);
    publisher.deferMs = deferMs;
    return publisher.idempotent ? takeKey(connection, "DPUB", line, 3) : undefined;
  },

  size(connection: Connection, size: number): ProtocolError | undefined {
    return checkMessageSize(connection, "DPUB", size);
  },

  body(connection: Connection, bytes: Buffer, from: number, to: number): CommandResult {
    const { broker, publisher } = connection;
    const refused = publisher.mayPublish("DPUB");
    if (refused !== undefined) return refused;
    const topic = publisher.namedTopic();
    if (topic instanceof Error) return publishFailed("DPUB", topic);
    const held = publisher.deferMs === 0 ? topic.pendingDpub : topic.deferredPublishes.pending;
    if (publisher.key !== "" && publisher.isRepeated(topic, held)) return undefined;
    publisher.count(topic, 1);
    if (publisher.deferMs === 0) topic.publish(bytes, from, to - from, broker.time);
    else broker.publishDeferred(topic, bytes, from, to, publisher.deferMs);
    connection.hold(held);
    return undefined;
  },

  truncated(hasSize: boolean): ProtocolError {
    return fatal("E_BAD_MESSAGE", `DPUB failed to read message body${hasSize ? "" : " size"}`);
  },
};
