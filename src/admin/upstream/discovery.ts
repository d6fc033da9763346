import { parseRemoteAddress } from "../../net/address.ts";
import { fieldsOf, listOf, textOf, textsOf } from "./fields.ts";
import { type Found, gather } from "./gather.ts";
import { comparableVersion, httpAddress, type Producer, producerOf, tcpAddress } from "./producer.ts";
import { queryOf, type Upstream, UpstreamError } from "./upstream.ts";

/** Where brokers are found. The lists may be replaced at run time. */
export interface Sources {
  readonly lookupdHttpAddresses: readonly string[];
  readonly nsqdHttpAddresses: readonly string[];
}

/** The brokers that have a topic. */
export interface TopicProducers extends Found<Producer[]> {
  /** Whether any server knows the topic. A lookup server may know one that no broker has. */
  isKnown: boolean;
}

/**
 * Finds brokers, topics and channels: what all lookup servers know, merged, or what the brokers of a fixed list have. What is
 * down is left out, with why. All calls reject with AllFailed if no server answers.
 */
export class Discovery {
  constructor(
    private readonly upstream: Upstream,
    private readonly sources: Sources,
  ) {}

  get hasLookups(): boolean {
    return this.sources.lookupdHttpAddresses.length > 0;
  }

  /** The names of all topics, sorted. */
  async topics(): Promise<Found<string[]>> {
    const { value, failures } = this.hasLookups
      ? await this.askLookups(async (lookup) => textsOf(fieldsOf(await this.upstream.getJson(lookup, "/topics")), "topics"))
      : await this.askBrokers(async (broker) =>
          // Go's nsqadmin shows this path where a broker does not answer, so it is the same to the letter.
          topicNames(await this.upstream.getJson(broker, "/stats?format=json&include_clients=false")),
        );
    return { value: [...new Set(value.flat())].sort(), failures };
  }

  /** The names of a topic's channels that lookup servers know, sorted. */
  async channelsAtLookups(topic: string): Promise<Found<string[]>> {
    const path = `/channels${queryOf({ topic })}`;
    const { value, failures } = await this.askLookups(async (lookup) =>
      textsOf(fieldsOf(await this.upstream.getJson(lookup, path)), "channels"),
    );
    return { value: [...new Set(value.flat())].sort(), failures };
  }

  /** All brokers. */
  producers(): Promise<Found<Producer[]>> {
    return this.hasLookups ? this.producersAtLookups() : this.askBrokers((broker) => this.describe(broker));
  }

  /** The brokers that have a topic. */
  async producersOf(topic: string): Promise<TopicProducers> {
    if (!this.hasLookups) {
      const { value, failures } = await this.askBrokers((broker) => this.describe(broker, topic));
      const having = value.filter(({ topics }) => topics.some((one) => one.topic === topic));
      return { value: having, failures, isKnown: having.length > 0 };
    }
    const path = `/lookup${queryOf({ topic })}`;
    const { value, failures } = await this.askLookups(async (lookup) => {
      try {
        return listOf(fieldsOf(await this.upstream.getJson(lookup, path)), "producers").map((fields) => producerOf(fieldsOf(fields)));
      } catch (error) {
        // It does not know the topic.
        if (error instanceof UpstreamError && error.status === 404) return undefined;
        throw error;
      }
    });
    const byAddress = new Map<string, Producer>();
    for (const producer of value.flatMap((producers) => producers ?? [])) {
      if (!byAddress.has(httpAddress(producer))) byAddress.set(httpAddress(producer), producer);
    }
    return { value: [...byAddress.values()], failures, isKnown: value.some((producers) => producers !== undefined) };
  }

  /** A broker's description of itself, with its topics. @param topic if given, only this one */
  async describe(broker: string, topic?: string): Promise<Producer> {
    const query = queryOf({ format: "json", ...(topic === undefined ? {} : { topic }), include_clients: "false" });
    const askStats = () => this.upstream.getJson(broker, `/stats${query}`);
    // One after the other, in nsqadmin's order, so that a broker that is down fails at the same request.
    const early = topic === undefined ? undefined : await askStats();
    const info = await this.upstream.getJson(broker, "/info");
    const stats = early ?? (await askStats());
    const producer = producerOf(fieldsOf(info));
    // nsqd before 0.3 says neither.
    const given = producer.broadcastAddress === "" || producer.hostname === "" ? parseRemoteAddress(broker) : undefined;
    if (given !== undefined && producer.broadcastAddress === "") {
      producer.broadcastAddress = given.hostname;
      producer.httpPort = given.port;
    }
    if (given !== undefined && producer.hostname === "") producer.hostname = given.hostname;
    return { ...producer, topics: topicNames(stats).map((name) => ({ topic: name, tombstoned: false })) };
  }

  private async producersAtLookups(): Promise<Found<Producer[]>> {
    const { value, failures } = await this.askLookups(async (lookup) => {
      const listed = listOf(fieldsOf(await this.upstream.getJson(lookup, "/nodes")), "producers");
      return listed.map((fields) => ({ lookup, producer: producerOf(fieldsOf(fields)) }));
    });
    const byAddress = new Map<string, Producer>();
    for (const { lookup, producer } of value.flat()) {
      const address = tcpAddress(producer);
      const known = byAddress.get(address) ?? producer;
      byAddress.set(address, known);
      known.remoteAddresses.push(`${lookup}/${producer.remoteAddress || "N/A"}`);
    }
    const producers = [...byAddress.values()].sort(byHostname);
    const newest = producers.map(comparableVersion).reduce((one, other) => (Bun.semver.order(one, other) < 0 ? other : one), "0.0.0");
    for (const producer of producers) {
      producer.topics.sort((a, b) => (a.topic < b.topic ? -1 : 1));
      producer.outOfDate = Bun.semver.order(comparableVersion(producer), newest) < 0;
    }
    return { value: producers, failures };
  }

  private askLookups<Answer>(ask: (lookup: string) => Promise<Answer>): Promise<Found<Answer[]>> {
    return gather("nsqlookupd", this.sources.lookupdHttpAddresses, ask);
  }

  private askBrokers<Answer>(ask: (broker: string) => Promise<Answer>): Promise<Found<Answer[]>> {
    return gather("nsqd", this.sources.nsqdHttpAddresses, ask);
  }
}

/** Sorts brokers, and what is of brokers, by host name. Equal ones keep their order. */
export function byHostname(a: { hostname: string }, b: { hostname: string }): number {
  return a.hostname < b.hostname ? -1 : a.hostname > b.hostname ? 1 : 0;
}

function topicNames(stats: unknown): string[] {
  return listOf(fieldsOf(stats), "topics").map((topic) => textOf(fieldsOf(topic), "topic_name"));
}
