import type { IntFlag } from "../cli/flag.ts";
import { Consumer, type ConsumerEvent } from "../client/bun.ts";
import { isValidName } from "../frame/names.ts";
import type { ClientOptions } from "./client-options.ts";
import { ANY_INTEGER, Fatal, listFlag, logLine } from "./tool.ts";

/** Where a tool's messages come from. */
export interface Sources {
  nsqdTcpAddresses: string[];
  lookupdHttpAddresses: string[];
}

export const sourceFlags = {
  nsqdTcpAddresses: listFlag("nsqd-tcp-address", "nsqd TCP address"),
  lookupdHttpAddresses: listFlag("lookupd-http-address", "lookupd HTTP address"),
};

export const maxInFlightFlag: IntFlag = {
  name: "max-in-flight",
  kind: "int",
  default: 200,
  ...ANY_INTEGER,
  doc: "max number of messages to allow in flight",
};

/** @throws Fatal unless exactly one kind of address is given */
export function checkSources({ nsqdTcpAddresses, lookupdHttpAddresses }: Sources, end = ""): void {
  const [hasBrokers, hasLookups] = [nsqdTcpAddresses.length > 0, lookupdHttpAddresses.length > 0];
  if (!(hasBrokers || hasLookups)) throw new Fatal(`--nsqd-tcp-address or --lookupd-http-address required${end}`);
  if (hasBrokers && hasLookups) throw new Fatal("use --nsqd-tcp-address or --lookupd-http-address not both");
}

/** What a tool is told about its consumer. */
export interface ConsumerWatch {
  /** Writes a line of the log. */
  log: (line: string) => void;
  /** A broker that the command line names could not be reached at the start. */
  onUnreachable?: (error: Error) => void;
}

let consumers = 0;

/**
 * A consumer of a tool, which logs what happens to its connections.
 *
 * @throws Fatal for a wrong name or maximum; ClientError for options that do not fit together
 */
export function openConsumer(
  topic: string,
  channel: string,
  sources: Sources,
  options: ClientOptions & { maxInFlight: number },
  { log, onUnreachable }: ConsumerWatch = { log: logLine },
): Consumer {
  if (options.maxInFlight < 0) throw new Fatal(`invalid MaxInFlight ! ${options.maxInFlight} < 0`);
  if (!isValidName(topic)) throw new Fatal("invalid topic name");
  if (!isValidName(channel)) throw new Fatal("invalid channel name");
  const { nsqdTcpAddresses, lookupdHttpAddresses } = sources;
  const who = `${String(++consumers).padStart(4)} [${topic}/${channel}]`;
  const tried = new Set<string>();
  return new Consumer({
    ...options,
    topic,
    channel,
    ...(nsqdTcpAddresses.length > 0 ? { brokers: [...new Set(nsqdTcpAddresses)] } : { lookups: [...new Set(lookupdHttpAddresses)] }),
    onEvent: (event) => {
      const line = lineOf(event);
      if (line !== undefined) log(`${line[0]} ${who} ${line[1]}`);
      if (event.type === "connect-failed" && !tried.has(event.broker) && nsqdTcpAddresses.length > 0) onUnreachable?.(event.error);
      if (event.type === "connected" || event.type === "connect-failed") tried.add(event.broker);
    },
  });
}

/** What the log says about an event, in the words of Go's client library where it has some. */
function lineOf(event: ConsumerEvent): [level: string, text: string] | undefined {
  switch (event.type) {
    case "broker-found":
      return ["INF", `(${event.broker}) connecting to nsqd`];
    case "broker-forgotten":
      return ["INF", `(${event.broker}) is not registered any more`];
    case "connect-failed":
      return ["ERR", `(${event.broker}) error connecting to nsqd - ${event.error.message}`];
    case "disconnected":
      return event.error === undefined ? undefined : ["ERR", `(${event.broker}) ${event.error.message}`];
    case "lookup-failed":
      return ["ERR", `error querying nsqlookupd (${event.lookup}) - ${event.error.message}`];
    case "broker-error":
      return ["ERR", `(${event.broker}) protocol error - ${event.error.message}`];
    case "backoff":
      return ["WRN", `backing off for ${event.durationMs} ms (backoff level ${event.level}), setting all to RDY 0`];
    case "backoff-ended":
      return ["WRN", "exiting backoff, returning all to RDY"];
    case "handler-failed":
      return ["ERR", `Handler returned error (${event.error.message}) for msg ${event.id}`];
    case "gave-up":
      return ["WRN", `msg ${event.id} attempted ${event.attempts} times, giving up`];
    default:
      return undefined;
  }
}

/**
 * Runs consumers until a signal comes, or until a broker that the command line names cannot be reached at the start.
 *
 * @param end resolves when the tool has to stop
 * @throws Fatal what `end` rejects with
 */
export async function untilStopped(consumers: readonly Consumer[], end: Promise<unknown>): Promise<void> {
  try {
    await end;
  } finally {
    await Promise.all(consumers.map((consumer) => consumer.close()));
  }
}
