import { fatal, type ProtocolError } from "../../frame/error.ts";
import { isValidName } from "../../frame/names.ts";
import type { Lookup } from "../lookup.ts";
import type { RegisteredNode } from "../registered-node.ts";
import { encodeResponse } from "../response.ts";
import { parsePartition } from "../topic-settings.ts";

/** The part of a connection that its commands use. */
export interface Session {
  readonly lookup: Lookup;
  /** `ip:port`, as nsqlookupd shows it. */
  readonly remoteAddress: string;
  /** The node that the client has identified itself as; undefined before IDENTIFY. */
  node: RegisteredNode | undefined;
}

/**
 * Executes a command line.
 *
 * @param words the words of the line, beginning with the command's name
 * @returns the encoded answer, an error, or "body" if a body follows the line
 */
export type Command = (session: Session, words: readonly string[]) => Buffer | ProtocolError | "body";

export const OK = encodeResponse("OK");

/** The parameters of REGISTER and UNREGISTER. */
export interface Named {
  node: RegisteredNode;
  topic: string;
  /** Which partition of the topic; undefined for a node that names none. */
  partition: number | undefined;
  /** Empty if the command is about the topic alone. */
  channel: string;
}

/** Checks the parameters of REGISTER and UNREGISTER, in nsqlookupd's order. Those of a node that names partitions have one behind the topic. */
export function parseNames(command: string, session: Session, words: readonly string[]): Named | ProtocolError {
  const { node } = session;
  if (node === undefined) return fatal("E_INVALID", "client must IDENTIFY");
  if (words.length < (node.namesPartitions ? 3 : 2)) return fatal("E_INVALID", `${command} insufficient number of params`);
  const [, topic, ...others] = words;
  let partition: number | undefined;
  if (node.namesPartitions) {
    const text = others.shift() ?? "";
    partition = parsePartition(text);
    if (partition === undefined) return fatal("E_BAD_PARTITIONID", `${command} partition '${text}' is not valid`);
  }
  const [channel = ""] = others;
  if (!isValidName(topic)) return fatal("E_BAD_TOPIC", `${command} topic name '${topic}' is not valid`);
  if (channel !== "" && !isValidName(channel)) return fatal("E_BAD_CHANNEL", `${command} channel name '${channel}' is not valid`);
  return { node, topic, partition, channel };
}
