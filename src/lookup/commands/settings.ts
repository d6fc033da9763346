import { fatal, type ProtocolError } from "../../frame/error.ts";
import { parseSettings } from "../topic-settings.ts";
import { OK, type Session } from "./command.ts";

/** `SETTINGS topic json`: what a broker that makes partitions says of a topic that it has registered. The JSON has no spaces. */
export function SETTINGS({ node, lookup }: Session, words: readonly string[]): Buffer | ProtocolError {
  // To all others it is as unknown as to nsqlookupd.
  if (node?.info.makesPartitions !== true) return fatal("E_INVALID", `invalid command ${words[0]}`);
  if (words.length < 3) return fatal("E_INVALID", "SETTINGS insufficient number of params");
  const settings = parseSettings(words[2]);
  if (settings === undefined) return fatal("E_INVALID", "SETTINGS are not valid");
  // An operator may have deleted the topic here meanwhile.
  lookup.registry.setSettings(node, words[1], settings);
  return OK;
}
