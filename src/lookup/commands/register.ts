import type { ProtocolError } from "../../frame/error.ts";
import type { Connection } from "../connection.ts";
import { OK, readNames } from "./command.ts";

/** `REGISTER topic [channel]`: the broker has this topic, and this channel of it. */
export function REGISTER(connection: Connection, words: readonly string[]): Buffer | ProtocolError {
  const named = readNames("REGISTER", connection, words);
  if ("code" in named) return named;
  const { producer, topic, channel } = named;
  const { registry, log } = connection.lookup;
  const added = registry.register(producer, topic, channel);
  if (added.channel) log.info(`DB: client(${connection.remoteAddress}) REGISTER category:channel key:${topic} subkey:${channel}`);
  if (added.topic) log.info(`DB: client(${connection.remoteAddress}) REGISTER category:topic key:${topic} subkey:`);
  return OK;
}
