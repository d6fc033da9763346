import type { ProtocolError } from "../../frame/error.ts";
import { OK, parseNames, type Session } from "./command.ts";

/**
 * `REGISTER topic [channel]`: the broker has this topic, and this channel of it. `REGISTER topic partition [channel]` from a broker
 * that names partitions.
 */
export function REGISTER(session: Session, words: readonly string[]): Buffer | ProtocolError {
  const named = parseNames("REGISTER", session, words);
  if ("code" in named) return named;
  const { node, topic, partition, channel } = named;
  const { registry, logger } = session.lookup;
  const added =
    partition === undefined ? registry.register(node, topic, channel) : registry.registerPartition(node, topic, partition, channel);
  if (added.channel)
    logger.info(`DB: client(${session.remoteAddress}) REGISTER category:channel key:${topic} subkey:${channel}`, {
      part: "tcp",
      client: session.remoteAddress,
      topic,
      channel,
    });
  if (added.topic)
    logger.info(`DB: client(${session.remoteAddress}) REGISTER category:topic key:${topic} subkey:${partition ?? ""}`, {
      part: "tcp",
      client: session.remoteAddress,
      topic,
    });
  return OK;
}
