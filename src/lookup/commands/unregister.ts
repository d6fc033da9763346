import type { ProtocolError } from "../../frame/error.ts";
import { OK, readNames, type Session } from "./command.ts";

/** `UNREGISTER topic [channel]`: the broker does not have this channel, or this topic, any more. */
export function UNREGISTER(session: Session, words: readonly string[]): Buffer | ProtocolError {
  const named = readNames("UNREGISTER", session, words);
  if ("code" in named) return named;
  const { producer, topic, channel } = named;
  const { registry, log } = session.lookup;
  const client = `client(${session.remoteAddress})`;
  if (channel !== "") {
    if (registry.unregisterChannel(producer, topic, channel)) {
      log.info(`DB: ${client} UNREGISTER category:channel key:${topic} subkey:${channel}`);
    }
    return OK;
  }
  const removed = registry.unregisterTopic(producer, topic);
  // A broker takes its channels out first.
  for (const name of removed.channels) log.warn(`${client} unexpected UNREGISTER category:channel key:${topic} subkey:${name}`);
  if (removed.topic) log.info(`DB: ${client} UNREGISTER category:topic key:${topic} subkey:`);
  return OK;
}
