/** What an error of this library is about, beside its text. */
export interface ErrorContext {
  /** The broker's or the lookup server's address. */
  broker?: string | undefined;
  /** The command or the HTTP call that failed: `PUB`, `SUB`, `GET /lookup`. */
  command?: string | undefined;
  cause?: unknown;
}

/**
 * The errors of this library. `code` is for programs:
 *
 * - the broker's own codes, `E_…`, in a BrokerError
 * - INVALID_OPTION, INVALID_TOPIC, INVALID_MESSAGE: the caller's mistake
 * - CONNECT_FAILED, CONNECTION_LOST, HEARTBEAT_MISSED, PROTOCOL, TLS_REFUSED, TLS_FAILED: a connection
 * - HEADERS_UNSUPPORTED, ORDER_UNSUPPORTED: the broker does not have what was asked for
 * - OUTCOME_UNKNOWN: a publish that a cluster may have carried out
 * - TIMEOUT, NO_BROKER, QUEUE_FULL, CLOSED: a call that could not be carried out
 * - LOOKUP_FAILED: a lookup server
 */
export class ClientError extends Error {
  override name = "ClientError";
  readonly broker: string | undefined;
  readonly command: string | undefined;

  constructor(
    readonly code: string,
    /** What is wrong, without where. */
    readonly text: string,
    { broker, command, cause }: ErrorContext = {},
  ) {
    const about = [command, broker].filter((part) => part !== undefined).join(" at ");
    super(about === "" ? text : `${about}: ${text}`, cause === undefined ? undefined : { cause });
    this.broker = broker;
    this.command = command;
  }
}

/** A broker's refusal. `code` is the broker's, for instance E_BAD_TOPIC. */
export class BrokerError extends ClientError {
  override name = "BrokerError";
}

/** A message that may not have been published. */
export class PublishError extends ClientError {
  override name = "PublishError";

  /** @param mayBeDuplicate a broker may have the message, so that publishing it again may make a second one */
  constructor(
    code: string,
    text: string,
    readonly topic: string,
    readonly mayBeDuplicate: boolean,
    context: ErrorContext = {},
  ) {
    super(code, mayBeDuplicate ? `${text}; the message may have been published, so sending it again may duplicate it` : text, context);
  }
}

/** A broker's HTTP answer that is an error. `code` is the broker's, for instance TOPIC_NOT_FOUND. */
export class HttpError extends ClientError {
  override name = "HttpError";

  constructor(
    readonly status: number,
    code: string,
    context: ErrorContext,
  ) {
    super(code, `${status} ${code}`, context);
  }
}

/** Whatever was thrown, as an Error. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
