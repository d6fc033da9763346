import { fatal, type ProtocolError } from "../../frame/error.ts";
import { isValidName } from "../../frame/names.ts";
import type { Lookup } from "../lookup.ts";
import type { RegisteredNode } from "../registered-node.ts";
import { encodeResponse } from "../response.ts";

/** What a command knows of the connection that it came on. */
export interface Session {
  readonly lookup: Lookup;
  /** `ip:port`, as nsqlookupd shows it. */
  readonly remoteAddress: string;
  /** What the client registers as; undefined before IDENTIFY. */
  node: RegisteredNode | undefined;
}

/**
 * Carries out a command line.
 *
 * @param words of the line, the command's name first
 * @returns the encoded answer; an error; "body" if a sized body follows the line
 */
export type Command = (session: Session, words: readonly string[]) => Buffer | ProtocolError | "body";

export const OK = encodeResponse("OK");

/** What REGISTER and UNREGISTER name. */
export interface Named {
  node: RegisteredNode;
  topic: string;
  /** Empty: the topic alone is meant. */
  channel: string;
}

/** Who sends the command, and what it names; checked in nsqlookupd's order. */
export function parseNames(command: string, session: Session, words: readonly string[]): Named | ProtocolError {
  const { node } = session;
  if (node === undefined) return fatal("E_INVALID", "client must IDENTIFY");
  if (words.length < 2) return fatal("E_INVALID", `${command} insufficient number of params`);
  const [, topic, channel = ""] = words;
  if (!isValidName(topic)) return fatal("E_BAD_TOPIC", `${command} topic name '${topic}' is not valid`);
  if (channel !== "" && !isValidName(channel)) return fatal("E_BAD_CHANNEL", `${command} channel name '${channel}' is not valid`);
  return { node, topic, channel };
}
