import { goQuote } from "../../../base/go/quote.ts";
import { fatal, type ProtocolError } from "../../../frame/error.ts";
import type { Line } from "../../../frame/line.ts";
import { MAX_KEY_BYTES } from "../../storage/idempotency/key-store.ts";
import type { Client, CommandClient, PublishingClient } from "./client.ts";

/**
 * Returned by a command that needs an answer from elsewhere first. It is run again, from its line or with its body, when the
 * decoder is resumed. Until then everything that the client sent after it waits.
 */
export const WAIT: unique symbol = Symbol("WAIT");

/** The outcome of a command: it was carried out (undefined), is answered with an error, or waits. */
export type CommandResult = ProtocolError | typeof WAIT | undefined;

/** What a command line does. A command sends its response itself; an error that it returns is sent by the decoder. */
export interface Command {
  execute(client: CommandClient, line: Line): CommandResult;
}

/** A command whose line is followed by a size word and a body. Its execute() looks at the line only. */
export interface BodyCommand extends Command {
  /** Checks the size word. */
  size(client: CommandClient, size: number): ProtocolError | undefined;
  /**
   * The length of the body that begins at `from`, or 0 if not all of it is in [from, to) yet.
   * @param first false if the same body was measured before, with fewer bytes
   */
  measure(client: CommandClient, bytes: Buffer, from: number, to: number, size: number, first: boolean): number | ProtocolError;
  /** How many bytes the body has at least, as far as measure() could see. */
  needed(client: CommandClient, size: number): number;
  /** The error for a client that ended its side within the body. @param hasSize whether the size word had come */
  truncated(hasSize: boolean, client: CommandClient): ProtocolError;
  /** Carries the command out. The whole body is in [from, to). */
  body(client: CommandClient, bytes: Buffer, from: number, to: number): CommandResult;
}

/** A body that is exactly as long as its size word says. */
export const SIZED_BODY = {
  measure(_client: Client, _bytes: Buffer, from: number, to: number, size: number): number {
    return to - from >= size ? size : 0;
  },
  needed(_client: Client, size: number): number {
    return size;
  },
};

/** Checks the size word of a body that is one message. */
export function checkMessageSize({ options }: Client, command: string, size: number): ProtocolError | undefined {
  if (size <= 0) return fatal("E_BAD_MESSAGE", `${command} invalid message body size ${size}`);
  const limit = options.maxMsgSizeBytes;
  if (size > limit) return fatal("E_BAD_MESSAGE", `${command} message too big ${size} > ${limit}`);
  return undefined;
}

/** Checks the size word of a body that tells about the client. */
export function checkBodySize({ options }: Client, command: string, size: number): ProtocolError | undefined {
  const limit = options.maxBodySizeBytes;
  if (size > limit) return fatal("E_BAD_BODY", `${command} body too big ${size} > ${limit}`);
  if (size <= 0) return fatal("E_BAD_BODY", `${command} invalid body size ${size}`);
  return undefined;
}

export function badTopic(command: string, line: Line): ProtocolError {
  return fatal("E_BAD_TOPIC", `${command} topic name ${goQuote(line.text(1))} is not valid`);
}

/** The error for a publish that is not accepted: its topic cannot be made, the disk is full, or the broker shuts down. */
export function publishFailed(command: string, error: Error): ProtocolError {
  return fatal(`E_${command}_FAILED`, `${command} failed ${error.message}`);
}

/** Notes the idempotency key in the line of a publish, if the client may send keys. @param word where the key is in the line */
export function noteKey({ publisher }: PublishingClient, command: string, line: Line, word: number): ProtocolError | undefined {
  if (!publisher.idempotent) return undefined;
  publisher.key = line.words > word ? line.text(word) : "";
  if (publisher.key.length <= MAX_KEY_BYTES) return undefined;
  return fatal("E_INVALID", `${command} idempotency key longer than ${MAX_KEY_BYTES} bytes`);
}
