import type { ProtocolError } from "../../frame/error.ts";
import { OK, parseNames, type Session } from "./command.ts";

/**
 * `UNREGISTER topic [channel]`: the broker no longer has this channel, or this topic. `UNREGISTER topic partition [channel]` from a
 * broker that names partitions.
 */
export function UNREGISTER(session: Session, words: readonly string[]): Buffer | ProtocolError {
  const named = parseNames("UNREGISTER", session, words);
  if ("code" in named) return named;
  const { node, topic, partition, channel } = named;
  const { registry, logger } = session.lookup;
  const about = { part: "tcp", client: session.remoteAddress, topic };
  const client = `client(${session.remoteAddress})`;
  if (channel !== "") {
    if (registry.unregisterChannel(node, topic, channel)) {
      logger.info(`DB: ${client} UNREGISTER category:channel key:${topic} subkey:${channel}`, { ...about, channel });
    }
    return OK;
  }
  const removed = partition === undefined ? registry.unregisterTopic(node, topic) : registry.unregisterPartition(node, topic, partition);
  // A broker should have unregistered its channels before.
  for (const name of removed.channels)
    logger.warn(`${client} unexpected UNREGISTER category:channel key:${topic} subkey:${name}`, { ...about, channel: name });
  if (removed.topic) logger.info(`DB: ${client} UNREGISTER category:topic key:${topic} subkey:${partition ?? ""}`, about);
  return OK;
}
