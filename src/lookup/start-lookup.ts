import { DescriptorBudget, descriptorLimit } from "../base/descriptor-budget.ts";
import type { Logger } from "../base/logger.ts";
import type { LookupMember, LookupPlace } from "../cluster/member/lookup-member.ts";
import type { HttpServer } from "../http/server/server.ts";
import { formatAddress } from "../net/address.ts";
import { BrokerListener } from "./broker-listener.ts";
import { ClusterTopics } from "./cluster-topics.ts";
import { startHttp } from "./http/server.ts";
import { Lookup } from "./lookup.ts";
import type { LookupOptions } from "./options.ts";
import type { RegistryClock } from "./registry.ts";

/** A running lookup server. */
export interface LookupServer {
  readonly tcpPort: number;
  readonly httpPort: number;
  /** Makes it a member of a cluster. @param member gets where it is reached @throws StartError */
  join(member: (place: LookupPlace) => LookupMember): void;
  /** Leaves the cluster, answers the HTTP requests under way, closes all connections, and resolves when both listeners are closed. */
  stop(): Promise<void>;
}

/**
 * Starts a lookup server: a TCP listener for brokers, and an HTTP server for clients.
 *
 * @param flagPrefix in front of the names of its flags in errors: `lookup-` if a broker runs in the same process
 * @param descriptors of the process, which a broker may share
 * @throws StartError if it cannot listen on an address; then nothing is left open
 */
export function startLookup(
  options: LookupOptions,
  logger: Logger,
  flagPrefix = "",
  descriptors = ownDescriptors(),
  clock?: RegistryClock,
): LookupServer {
  const lookup = new Lookup(options, logger, descriptors, flagPrefix, clock);
  const brokers = new BrokerListener(lookup);
  lookup.tcpPort = brokers.port;
  let http: HttpServer;
  try {
    http = startHttp(lookup);
  } catch (error) {
    brokers.close();
    throw error;
  }
  lookup.httpPort = http.port;
  return {
    tcpPort: lookup.tcpPort,
    httpPort: http.port,
    join: (member) => {
      const at = (port: number) => formatAddress(options.broadcastAddress, port);
      const joined = member({ tcp: at(brokers.port), http: at(http.port) });
      lookup.cluster = new ClusterTopics(joined, lookup.registry);
      joined.start();
    },
    stop: async () => {
      await lookup.cluster?.member.leave();
      brokers.close();
      await http.stop();
    },
  };
}

function ownDescriptors(): DescriptorBudget {
  return new DescriptorBudget(descriptorLimit());
}
