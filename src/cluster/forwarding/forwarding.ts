import type { Clock } from "../../base/clock.ts";
import type { RateLimitedLog } from "../../base/rate-limited-log.ts";
import type { ClusterRouting } from "../../broker/cluster-routing.ts";
import { Forwarder } from "../../broker/forwarding/forwarder.ts";
import { OwnPartitions, type OwnPartitionsParts } from "../../broker/forwarding/own-partitions.ts";
import type { Network } from "../net/network.ts";
import { ForwardLinks } from "./forward-links.ts";
import { ForwardServices } from "./forward-services.ts";

/** The broker whose publishes are forwarded, and that carries out those of others. */
export interface ForwardingBroker extends Omit<OwnPartitionsParts, "registry"> {
  readonly options: OwnPartitionsParts["options"] & { readonly clusterForward: boolean; readonly cluster: string };
  readonly registry: OwnPartitionsParts["registry"] & { readonly waiting: ReadonlyMap<string, unknown> };
  readonly keys: { readonly enabled: boolean };
}

export interface ForwardingParts {
  readonly broker: ForwardingBroker;
  readonly routing: ClusterRouting;
  readonly network: Network;
  readonly clock: Clock;
  /** This broker's data path uid. */
  readonly uid: string;
  readonly errors: RateLimitedLog;
  /** Where a broker listens for others; undefined: it is not alive. */
  addressOf(uid: string): string | undefined;
}

/** The forwarding of publishes, from this broker and to it. */
export class Forwarding {
  readonly forwarder: Forwarder;
  readonly services: ForwardServices;
  private readonly links: ForwardLinks;

  constructor({ broker, routing, network, clock, uid, errors, addressOf }: ForwardingParts) {
    const { options, registry, keys } = broker;
    const { cluster, clusterForward: forwards } = options;
    const own = new OwnPartitions(broker);
    const onTrouble = (who: string, error: Error) => errors.error(`FORWARD(${who}): ${error.message}`);
    this.links = new ForwardLinks({ clock, network, cluster, uid, addressOf, onTrouble });
    this.services = new ForwardServices({ clock, cluster, uid, own, knowsKeys: keys.enabled, onTrouble });
    const isWaiting = (topic: string) => registry.waiting.has(topic);
    this.forwarder = new Forwarder({ routing, links: this.links, own, uid, clock, isWaiting, forwards });
  }

  close(): void {
    this.forwarder.close();
    this.links.close();
    this.services.close();
  }
}
