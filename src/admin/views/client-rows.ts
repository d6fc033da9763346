import type { ClientRow, ProducerRow } from "../console-api.ts";
import type { ClientRecord } from "../watch/client-record.ts";
import { rounded } from "../watch/figures.ts";
import { orNull } from "../watch/scale.ts";
import type { Totals } from "../watch/totals.ts";
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

/** A producer, with what it has published to topics that may be seen. */
interface ProducerItem {
  client: ClientRecord;
  published: { topic: string; count: number }[];
  count: number;
  /** NaN also if a part of it is of topics that may not be seen: brokers do not tell them apart. */
  rate: number;
  errors: number;
}

const PRODUCER_SORTS: Sorts<ProducerItem> = new Map<string, SortValue<ProducerItem>>([
  ...COMMON_SORTS.map(([key, value]): [string, SortValue<ProducerItem>] => [key, ({ client }) => value(client)]),
  ["count", ({ count }) => count],
  ["rate", ({ rate }) => rate],
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

/** Those that have published to a topic that may be seen. */
export function producerListing(producers: Iterable<ClientRecord>, totals: Totals): Listing<ProducerItem, ProducerRow> {
  return {
    items: Iterator.from(producers).flatMap((client) => producerItems(client, totals)),
    names: ({ client }) => namesOf(client),
    tie: ({ client }) => client.remoteAddress,
    sorts: PRODUCER_SORTS,
    defaultSort: "client_id",
    row: producerRow,
  };
}

function producerItems(client: ClientRecord, totals: Totals): ProducerItem[] {
  const { publishedTopics = [], published: count, publishRate: rate, errors } = client;
  const published = publishedTopics.filter(({ topic }) => totals.maySee(topic));
  if (totals.seesAll) return [{ client, published, count, rate, errors }];
  if (published.length === 0) return [];
  return [{ client, published, count: published.reduce((sum, { count }) => sum + count, 0), rate: Number.NaN, errors: Number.NaN }];
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
    ...client.wishes,
  };
}

function producerRow({ client, published, count, rate, errors }: ProducerItem): ProducerRow {
  return {
    key: client.key,
    broker: client.broker,
    client_id: client.clientId,
    hostname: client.hostname,
    remote_address: client.remoteAddress,
    user_agent: client.userAgent,
    connected_at: client.connectedAt * 1000,
    published,
    count,
    rate: rounded(rate),
    errors: orNull(errors),
  };
}
