import type { ProtocolError } from "../../frame/error.ts";
import { OK, readNames, type Session } from "./command.ts";

/** `REGISTER topic [channel]`: the broker has this topic, and this channel of it. */
export function REGISTER(session: Session, words: readonly string[]): Buffer | ProtocolError {
  const named = readNames("REGISTER", session, words);
  if ("code" in named) return named;
  const { producer, topic, channel } = named;
  const { registry, log } = session.lookup;
  const added = registry.register(producer, topic, channel);
  if (added.channel) log.info(`DB: client(${session.remoteAddress}) REGISTER category:channel key:${topic} subkey:${channel}`);
  if (added.topic) log.info(`DB: client(${session.remoteAddress}) REGISTER category:topic key:${topic} subkey:`);
  return OK;
}
