import { goQuote } from "../../../base/go/quote.ts";
import { fatal, type ProtocolError } from "../../../frame/error.ts";
import type { Line } from "../../../frame/line.ts";
import { MAX_KEY_BYTES } from "../../storage/idempotency/key-store.ts";
import type { Connection } from "../connection.ts";

/**
 * Returned by a command that needs an answer from elsewhere first: it is run again, from its line or with its body, when
 * the connection is resumed. Until then everything that the client sent after it waits.
 */
export const WAIT: unique symbol = Symbol("WAIT");

/** What became of a command: it was carried out, is answered with an error, or waits. */
export type CommandResult = ProtocolError | typeof WAIT | undefined;

/** What a command line does. It answers by itself; an error it returns is answered by the connection. */
export interface Command {
  execute(connection: Connection, line: Line): CommandResult;
}

/** A command whose line is followed by a size word and a body. `execute` has looked at the line only. */
export interface BodyCommand extends Command {
  /** Looks at the size word. */
  size(connection: Connection, size: number): ProtocolError | undefined;
  /**
   * The length of the body that begins at `from`, if all of it is in [from, to): else 0.
   * @param first false when the same body was measured before with fewer bytes
   */
  measure(connection: Connection, bytes: Buffer, from: number, to: number, size: number, first: boolean): number | ProtocolError;
  /** How many bytes are needed at least, as far as measure() could see. */
  needed(connection: Connection, size: number): number;
  /** What a client hears that ended its side in the middle. @param hasSize whether the size word was there */
  truncated(hasSize: boolean, connection: Connection): ProtocolError;
  /** The whole body, in [from, to). */
  body(connection: Connection, bytes: Buffer, from: number, to: number): CommandResult;
}

/** A body of exactly the size that its size word said. */
export const SIZED_BODY = {
  measure(_connection: Connection, _bytes: Buffer, from: number, to: number, size: number): number {
    return to - from >= size ? size : 0;
  },
  needed(_connection: Connection, size: number): number {
    return size;
  },
};

/** Checks the size word of a body that is one message. */
export function checkMessageSize(connection: Connection, command: string, size: number): ProtocolError | undefined {
  if (size <= 0) return fatal("E_BAD_MESSAGE", `${command} invalid message body size ${size}`);
  const limit = connection.broker.options.maxMsgSizeBytes;
  if (size > limit) return fatal("E_BAD_MESSAGE", `${command} message too big ${size} > ${limit}`);
  return undefined;
}

/** Checks the size word of a body that says something of the client. */
export function checkBodySize(connection: Connection, command: string, size: number): ProtocolError | undefined {
  const limit = connection.broker.options.maxBodySizeBytes;
  if (size > limit) return fatal("E_BAD_BODY", `${command} body too big ${size} > ${limit}`);
  if (size <= 0) return fatal("E_BAD_BODY", `${command} invalid body size ${size}`);
  return undefined;
}

export function badTopic(command: string, line: Line): ProtocolError {
  return fatal("E_BAD_TOPIC", `${command} topic name ${goQuote(line.text(1))} is not valid`);
}

/** A publish that cannot be taken: the topic could not be made, or the broker is going down. */
export function publishFailed(command: string, error: Error): ProtocolError {
  return fatal(`E_${command}_FAILED`, `${command} failed ${error.message}`);
}

/** Takes note of the idempotency key in a publish's line, if it has one. */
export function takeKey({ publisher }: Connection, command: string, line: Line, word: number): ProtocolError | undefined {
  publisher.key = line.words > word ? line.text(word) : "";
  if (publisher.key.length <= MAX_KEY_BYTES) return undefined;
  return fatal("E_INVALID", `${command} idempotency key longer than ${MAX_KEY_BYTES} bytes`);
}
