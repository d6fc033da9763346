import { fatal, type ProtocolError } from "../../frame/error.ts";
import type { Line } from "../../frame/line.ts";
import type { Connection } from "../connection.ts";
import { type BodyCommand, badTopic, checkMessageSize, publishFailed, SIZED_BODY } from "./command.ts";

/** `PUB topic\n size body`: one message. https://nsq.io/clients/tcp_protocol_spec.html#pub */
export const PUB: BodyCommand = {
  ...SIZED_BODY,

  execute(connection: Connection, line: Line): ProtocolError | undefined {
    if (line.words < 2) return fatal("E_INVALID", "PUB insufficient number of parameters");
    return connection.nameTopic(line) ? undefined : badTopic("PUB", line);
  },

  size(connection: Connection, size: number): ProtocolError | undefined {
    return checkMessageSize(connection, "PUB", size);
  },

  body(connection: Connection, bytes: Buffer, from: number, to: number): ProtocolError | undefined {
    const refused = connection.mayPublish("PUB");
    if (refused !== undefined) return refused;
    const topic = connection.namedTopic();
    if (topic instanceof Error) return publishFailed("PUB", topic);
    topic.publish(bytes, from, to - from, connection.broker.time);
    connection.countPublished(topic, 1);
    connection.hold(topic.heldPub);
    return undefined;
  },

  truncated(hasSize: boolean): ProtocolError {
    return fatal("E_BAD_MESSAGE", `PUB failed to read message body${hasSize ? "" : " size"}`);
  },
};
