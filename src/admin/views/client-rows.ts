import type { ClientRow, ProducerRow } from "../console-api.ts";
import type { ClientRecord } from "../watch/client-record.ts";
import { rounded } from "../watch/figures.ts";
import { orNull } from "../watch/scale.ts";
import { clientFindings } from "./findings.ts";
import type { Listing, Sorts, SortValue } from "./listing.ts";

const COMMON_SORTS: [string, SortValue<ClientRecord>][] = [
  ["broker", ({ broker }) => broker],
  ["client_id", ({ clientId }) => clientId],
  ["hostname", ({ hostname }) => hostname],
  ["remote_address", ({ remoteAddress }) => remoteAddress],
  ["user_agent", ({ userAgent }) => userAgent],
  ["connected_at", ({ connectedAt }) => connectedAt],
];

const CLIENT_SORTS: Sorts<ClientRecord> = new Map<string, SortValue<ClientRecord>>([
  ...COMMON_SORTS,
  ["topic", ({ topic }) => topic],
  ["channel", ({ channel }) => channel],
  ["ready", ({ ready }) => ready],
  ["in_flight", ({ inFlight }) => inFlight],
  ["message_count", ({ messageCount }) => messageCount],
  ["finish_count", ({ finishCount }) => finishCount],
  ["requeue_count", ({ requeueCount }) => requeueCount],
  ["out_rate", ({ outRate }) => outRate],
  ["finish_rate", ({ finishRate }) => finishRate],
  ["region", ({ region }) => region],
  ["zone", ({ zone }) => zone],
]);

const PRODUCER_SORTS: Sorts<ClientRecord> = new Map<string, SortValue<ClientRecord>>([
  ...COMMON_SORTS,
  ["count", ({ published }) => published],
  ["rate", ({ publishRate }) => publishRate],
  ["errors", ({ errors }) => errors],
]);

/** @param depthOf the messages that wait for a client's channel at its broker */
export function clientListing(
  clients: Iterable<ClientRecord>,
  depthOf: (client: ClientRecord) => number,
): Listing<ClientRecord, ClientRow> {
  return {
    items: clients,
    names: namesOf,
    tie: ({ remoteAddress }) => remoteAddress,
    sorts: CLIENT_SORTS,
    defaultSort: "client_id",
    row: (client) => clientRow(client, depthOf(client)),
  };
}

export function producerListing(producers: Iterable<ClientRecord>): Listing<ClientRecord, ProducerRow> {
  return {
    items: producers,
    names: namesOf,
    tie: ({ remoteAddress }) => remoteAddress,
    sorts: PRODUCER_SORTS,
    defaultSort: "client_id",
    row: producerRow,
  };
}

function namesOf({ clientId, hostname, remoteAddress, userAgent, topic, channel, broker }: ClientRecord): string[] {
  return [clientId, hostname, remoteAddress, userAgent, topic, channel, broker];
}

function clientRow(client: ClientRecord, depth: number): ClientRow {
  return {
    key: client.key,
    broker: client.broker,
    topic: client.topic,
    channel: client.channel,
    client_id: client.clientId,
    hostname: client.hostname,
    remote_address: client.remoteAddress,
    user_agent: client.userAgent,
    ready: client.ready,
    in_flight: client.inFlight,
    message_count: client.messageCount,
    finish_count: client.finishCount,
    requeue_count: client.requeueCount,
    out_rate: rounded(client.outRate),
    finish_rate: rounded(client.finishRate),
    connected_at: client.connectedAt * 1000,
    tls: client.tls,
    deflate: client.deflate,
    snappy: client.snappy,
    sample_rate: client.sampleRate,
    auth_identity: client.authIdentity,
    region: client.region,
    zone: client.zone,
    findings: clientFindings(client, depth),
  };
}

function producerRow(client: ClientRecord): ProducerRow {
  return {
    key: client.key,
    broker: client.broker,
    client_id: client.clientId,
    hostname: client.hostname,
    remote_address: client.remoteAddress,
    user_agent: client.userAgent,
    connected_at: client.connectedAt * 1000,
    published: client.publishedTopics ?? [],
    count: client.published,
    rate: rounded(client.publishRate),
    errors: orNull(client.errors),
  };
}
