import type { BrokerSource, ConnectionOptions } from "../../client/bun.ts";
import { BROKER_FLAGS, type BrokerFlags, findBrokers, sourceOf, tcpAddress } from "./brokers.ts";
import type { Call } from "./command.ts";
import { CREDENTIAL_FLAGS, type CredentialFlags, connectionOptions, httpOptions } from "./credentials.ts";

/** The flags of a command that publishes or receives: where to connect to, and how. */
export interface ClientFlags extends BrokerFlags, CredentialFlags {}

export const CLIENT_FLAGS = { ...BROKER_FLAGS, ...CREDENTIAL_FLAGS } as const;

/**
 * Where a producer or a consumer finds brokers: the TCP addresses of those that were named, or the lookup servers. Also how it
 * connects to them.
 *
 * @throws UsageError; ClientError if a broker that was named does not answer, or a file cannot be read
 */
export async function clientSource(call: Call<ClientFlags>): Promise<BrokerSource & ConnectionOptions> {
  const { lookups } = sourceOf(call);
  const how = connectionOptions(call);
  if (lookups.length > 0) return { ...how, lookups, lookupHttp: httpOptions(call, lookups) };
  return { ...how, brokers: await Promise.all((await findBrokers(call)).map(tcpAddress)) };
}
