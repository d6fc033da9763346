import type { BrokerSource, ConsumerEvent, ProducerEvent } from "../../client/bun.ts";
import { type BrokerFlags, findBrokers, sourceOf, tcpAddress } from "./brokers.ts";
import type { Call } from "./command.ts";
import type { Terminal } from "./terminal.ts";

/**
 * Where a producer or a consumer finds brokers: the TCP addresses of those that were named, or the lookup servers.
 *
 * @throws UsageError; ClientError if a broker that was named does not answer
 */
export async function clientSource(call: Call<BrokerFlags>): Promise<BrokerSource> {
  const { lookups } = sourceOf(call);
  if (lookups.length > 0) return { lookups };
  return { brokers: await Promise.all((await findBrokers(call)).map(tcpAddress)) };
}

/** What a producer or a consumer reports. */
export type ClientEvent = ProducerEvent | ConsumerEvent;

/** Says on standard error what happens to connections. */
export function reportLinks(terminal: Terminal): (event: ClientEvent) => void {
  return (event) => {
    switch (event.type) {
      case "disconnected":
        if (event.error !== undefined) terminal.warn(`lost ${event.broker}: ${event.error.message}; connecting again`);
        break;
      case "connect-failed":
      case "broker-error":
      case "lookup-failed":
        terminal.warn(`warning: ${event.error.message}`);
        break;
      case "maybe-duplicated":
        terminal.warn(`warning: ${event.count} messages that may have reached ${event.from} were sent to ${event.to}`);
        break;
      default:
    }
  };
}
