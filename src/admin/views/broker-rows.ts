import type { BrokerRow, LookupRow } from "../console-api.ts";
import type { Cluster } from "../watch/cluster.ts";
import { orNull } from "../watch/scale.ts";
import type { BrokerTotals, Totals } from "../watch/totals.ts";
import type { WatchedBroker } from "../watch/watched-broker.ts";
import type { WatchedLookup } from "../watch/watched-lookup.ts";
import { figureSorts, type Listing, type Sorts, type SortValue } from "./listing.ts";

/** A broker, with what those of its topics do that may be seen. */
interface BrokerItem extends BrokerTotals {
  broker: WatchedBroker;
}

const BROKER_SORTS = figureSorts<BrokerItem>({
  address: ({ broker }) => broker.address,
  hostname: ({ broker }) => broker.hostname,
  version: ({ broker }) => broker.version,
  topics: ({ topics }) => topics,
  channels: ({ channels }) => channels,
  producers: ({ broker }) => broker.producers,
  start_time: ({ broker }) => broker.startTime || Number.NaN,
  log_bytes: ({ broker }) => broker.logBytes,
  disk_free_bytes: ({ broker }) => broker.diskFreeBytes,
  region: ({ broker }) => broker.region,
  zone: ({ broker }) => broker.zone,
  down: ({ broker }) => Number(!broker.isUp),
});

interface LookupItem {
  lookup: WatchedLookup;
  topics: number;
}

const LOOKUP_SORTS: Sorts<LookupItem> = new Map<string, SortValue<LookupItem>>([
  ["address", ({ lookup }) => lookup.address],
  ["version", ({ lookup }) => lookup.version],
  ["brokers", ({ lookup }) => lookup.nodes.size],
  ["topics", ({ topics }) => topics],
  ["down", ({ lookup }) => Number(!lookup.isUp)],
]);

export function brokerListing(cluster: Cluster, totals: Totals, timeMs: number): Listing<BrokerItem, BrokerRow> {
  return {
    items: cluster.brokers.values().map((broker) => ({ broker, ...totals.ofBroker(broker) })),
    names: ({ broker }) => [broker.address, broker.hostname],
    tie: ({ broker }) => broker.address,
    sorts: BROKER_SORTS,
    defaultSort: "address",
    row: ({ broker }) => brokerRow(broker, cluster, totals, timeMs),
  };
}

export function lookupListing(cluster: Cluster, totals: Totals): Listing<LookupItem, LookupRow> {
  return {
    items: cluster.lookups.values().map((lookup) => ({ lookup, topics: totals.count(lookup.topics) })),
    names: ({ lookup }) => [lookup.address],
    tie: ({ lookup }) => lookup.address,
    sorts: LOOKUP_SORTS,
    defaultSort: "address",
    row: ({ lookup }) => lookupRow(lookup, totals),
  };
}

export function lookupRow(lookup: WatchedLookup, totals: Totals): LookupRow {
  return { ...lookup.state(), brokers: lookup.nodes.size, topics: totals.count(lookup.topics) };
}

/** What a broker is as a machine, its disk among it, is told to everybody; what its topics do, to those who may see them. */
export function brokerRow(broker: WatchedBroker, cluster: Cluster, totals: Totals, timeMs: number): BrokerRow {
  const { figures, spark, topics, channels } = totals.ofBroker(broker);
  return {
    ...broker.state(),
    ...figures.counts(),
    hostname: broker.hostname,
    broadcast_address: broker.broadcastAddress,
    tcp_port: broker.tcpPort,
    http_port: broker.httpPort,
    topics,
    channels,
    producers: orNull(broker.producers),
    start_time: broker.startTime === 0 ? null : broker.startTime * 1000,
    log_bytes: orNull(broker.logBytes),
    disk_free_bytes: orNull(broker.diskFreeBytes),
    region: broker.region,
    zone: broker.zone,
    lookups: cluster.lookupsOf(broker.address),
    tombstones: [...cluster.tombstonesOf(broker.address)].filter((topic) => totals.maySee(topic)).sort(),
    ...(broker.isDraining && broker.isUp ? { draining: true as const } : {}),
    spark: spark.read(timeMs),
  };
}
