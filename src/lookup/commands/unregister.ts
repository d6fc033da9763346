import type { ProtocolError } from "../../frame/error.ts";
import type { Connection } from "../connection.ts";
import { OK, readNames } from "./command.ts";

/** `UNREGISTER topic [channel]`: the broker does not have this channel, or this topic, any more. */
export function UNREGISTER(connection: Connection, words: readonly string[]): Buffer | ProtocolError {
  const named = readNames("UNREGISTER", connection, words);
  if ("code" in named) return named;
  const { producer, topic, channel } = named;
  const { registry, log } = connection.lookup;
  const client = `client(${connection.remoteAddress})`;
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
