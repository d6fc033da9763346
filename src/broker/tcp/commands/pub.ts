import { fatal, type ProtocolError } from "../../../frame/error.ts";
import type { Line } from "../../../frame/line.ts";
import type { Connection } from "../connection.ts";
import { type BodyCommand, type CommandResult, checkMessageSize, publishFailed, SIZED_BODY, takeKey } from "./command.ts";

/** `PUB topic [key]\n size body`: one message; the key of a client that negotiated idempotency. https://nsq.io/clients/tcp_protocol_spec.html#pub */
export const PUB: BodyCommand = {
  ...SIZED_BODY,

  execute(connection: Connection, line: Line): ProtocolError | undefined {
    const { publisher } = connection;
    if (line.words < 2) return fatal("E_INVALID", "PUB insufficient number of parameters");
    const bad = publisher.nameTopic("PUB", line);
    if (bad !== undefined) return bad;
    return publisher.idempotent ? takeKey(connection, "PUB", line, 2) : undefined;
  },

  size(connection: Connection, size: number): ProtocolError | undefined {
    return checkMessageSize(connection, "PUB", size);
  },

  body(connection: Connection, bytes: Buffer, from: number, to: number): CommandResult {
    const { publisher } = connection;
    const refused = publisher.mayPublish("PUB");
    if (refused !== undefined) return refused;
    const topic = publisher.namedTopic();
    if (topic instanceof Error) return publishFailed("PUB", topic);
    if (publisher.key !== "" && publisher.isRepeated(topic, topic.pendingPub)) return undefined;
    topic.publish(bytes, from, to - from, connection.broker.time);
    publisher.count(topic, 1);
    connection.hold(topic.pendingPub);
    return undefined;
  },

  truncated(hasSize: boolean): ProtocolError {
    return fatal("E_BAD_MESSAGE", `PUB failed to read message body${hasSize ? "" : " size"}`);
  },
};
