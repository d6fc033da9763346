import type { BrokerRow, LookupRow } from "../console-api.ts";
import type { Cluster } from "../watch/cluster.ts";
import { orNull } from "../watch/scale.ts";
import type { WatchedBroker } from "../watch/watched-broker.ts";
import type { WatchedLookup } from "../watch/watched-lookup.ts";
import { figureSorts, type Listing, type Sorts } from "./listing.ts";

const BROKER_SORTS = figureSorts<WatchedBroker>({
  address: ({ address }) => address,
  hostname: ({ hostname }) => hostname,
  version: ({ version }) => version,
  topics: ({ topics }) => topics.size,
  channels: ({ channels }) => channels,
  producers: ({ producers }) => producers,
  start_time: ({ startTime }) => startTime || Number.NaN,
  log_bytes: ({ logBytes }) => logBytes,
  disk_free_bytes: ({ diskFreeBytes }) => diskFreeBytes,
  region: ({ region }) => region,
  zone: ({ zone }) => zone,
  down: ({ isUp }) => Number(!isUp),
});

const LOOKUP_SORTS: Sorts<WatchedLookup> = new Map<string, (lookup: WatchedLookup) => number | string>([
  ["address", ({ address }) => address],
  ["version", ({ version }) => version],
  ["brokers", ({ nodes }) => nodes.size],
  ["topics", ({ topics }) => topics.size],
  ["down", ({ isUp }) => Number(!isUp)],
]);

export function brokerListing(cluster: Cluster, timeMs: number): Listing<WatchedBroker, BrokerRow> {
  return {
    items: cluster.brokers.values(),
    names: ({ address, hostname }) => [address, hostname],
    tie: ({ address }) => address,
    sorts: BROKER_SORTS,
    defaultSort: "address",
    row: (broker) => brokerRow(broker, cluster, timeMs),
  };
}

export function lookupListing(cluster: Cluster): Listing<WatchedLookup, LookupRow> {
  return {
    items: cluster.lookups.values(),
    names: ({ address }) => [address],
    tie: ({ address }) => address,
    sorts: LOOKUP_SORTS,
    defaultSort: "address",
    row: lookupRow,
  };
}

export function lookupRow(lookup: WatchedLookup): LookupRow {
  return { ...lookup.state(), brokers: lookup.nodes.size, topics: lookup.topics.size };
}

export function brokerRow(broker: WatchedBroker, cluster: Cluster, timeMs: number): BrokerRow {
  return {
    ...broker.state(),
    ...broker.figures.counts(),
    hostname: broker.hostname,
    broadcast_address: broker.broadcastAddress,
    tcp_port: broker.tcpPort,
    http_port: broker.httpPort,
    topics: broker.topics.size,
    channels: broker.channels,
    producers: orNull(broker.producers),
    start_time: broker.startTime === 0 ? null : broker.startTime * 1000,
    log_bytes: orNull(broker.logBytes),
    disk_free_bytes: orNull(broker.diskFreeBytes),
    region: broker.region,
    zone: broker.zone,
    lookups: cluster.lookupsOf(broker.address),
    tombstones: [...cluster.tombstonesOf(broker.address)].sort(),
    spark: broker.spark.read(timeMs),
  };
}
