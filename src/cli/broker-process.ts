import type { Logger } from "../base/logger.ts";
import type { Broker } from "../broker/broker.ts";
import type { ClusterMember } from "../broker/cluster-routing.ts";
import type { BrokerOptions } from "../broker/options.ts";
import { startBroker } from "../broker/server.ts";
import { runProcess, type ServerProcess } from "./process.ts";

/** Has SIGUSR2 drain a broker, and the process end when it is drained. */
export function drainIn(server: ServerProcess, { drain, options }: Broker): void {
  drain.onDrained = server.stop;
  server.onDrainSignal = () => drain.begin(options.drainTimeoutMs);
}

/** What makes a broker a member of the cluster that its options name. It is loaded only then. @returns undefined: there is none */
export async function clusterJoin({ etcdEndpoints }: BrokerOptions): Promise<((broker: Broker) => ClusterMember) | undefined> {
  if (etcdEndpoints.length === 0) return undefined;
  const { BrokerMember } = await import("../cluster/member/broker-member.ts");
  return (broker) => new BrokerMember(broker);
}

/** Runs a process with a broker. @returns when it has ended: whether it ended without an error */
export function runBroker(options: BrokerOptions, logger: Logger): Promise<boolean> {
  return runProcess(logger, async (server) => {
    const { broker } = await startBroker(options, logger, server.opened, undefined, await clusterJoin(options));
    drainIn(server, broker);
  });
}
