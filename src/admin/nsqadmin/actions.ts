import { isValidName } from "../../frame/names.ts";
import type { Discovery } from "../upstream/discovery.ts";
import { AllFailed, foundNothing, gather } from "../upstream/gather.ts";
import { httpAddress } from "../upstream/producer.ts";
import { queryOf, type Upstream, UpstreamError } from "../upstream/upstream.ts";

/** Nothing that an action is about exists. The message is the code of the answer. */
export class NotFound extends Error {
  override name = "NotFound";

  constructor(readonly code: "TOPIC_NOT_FOUND" | "CHANNEL_NOT_FOUND" | "NODE_NOT_FOUND") {
    super(code);
  }
}

/** What is done to a topic or channel at the brokers that have it: the last part of the call's path. */
export type Change = "pause" | "unpause" | "empty";

/** The parts of the console that actions need. */
export interface ActionParts {
  readonly upstream: Upstream;
  readonly discovery: Discovery;
  readonly options: { readonly lookupdHttpAddresses: readonly string[]; readonly nsqdHttpAddresses: readonly string[] };
}

/**
 * What operators do, at all lookup servers and brokers that it concerns. Each returns the failures at some of them; if nothing was
 * done anywhere, it rejects: with NotFound, or with AllFailed.
 */
export class Actions {
  constructor(private readonly parts: ActionParts) {}

  /** Creates a topic, and a channel if one is given: at the lookup servers, or at the brokers if there are none. */
  async create(topic: string, channel: string): Promise<UpstreamError[]> {
    const { discovery, options } = this.parts;
    const ofTopic = queryOf({ topic });
    const ofChannel = queryOf({ topic, channel });
    const hasChannel = channel !== "";
    if (!discovery.hasLookups) {
      const brokers = options.nsqdHttpAddresses;
      const failures = await this.post("nsqd", brokers, `/topic/create${ofTopic}`);
      return hasChannel ? [...failures, ...(await this.postMore("nsqd", brokers, `/channel/create${ofChannel}`))] : failures;
    }
    const failures = await this.post("nsqlookupd", options.lookupdHttpAddresses, `/topic/create${ofTopic}`);
    if (!hasChannel) return failures;
    failures.push(...(await this.postMore("nsqlookupd", options.lookupdHttpAddresses, `/channel/create${ofChannel}`)));
    // Brokers that have the topic ask lookup servers for its channels only when they create it.
    const producers = await discovery.producersOf(topic).catch(foundNothing);
    failures.push(...producers.failures);
    const brokers = producers.value.map(httpAddress);
    return [...failures, ...(await this.postMore("nsqd", brokers, `/channel/create${ofChannel}`))];
  }

  /** Deletes a topic, or a channel of it if one is given, everywhere. */
  async remove(topic: string, channel = ""): Promise<UpstreamError[]> {
    const { discovery, options } = this.parts;
    // The brokers first: lookup servers do not know them any more afterwards.
    const { value: producers, failures, isKnown } = await discovery.producersOf(topic);
    if (!isKnown && failures.length === 0) throw new NotFound("TOPIC_NOT_FOUND");
    checkChannel(channel);
    const path = channel === "" ? `/topic/delete${queryOf({ topic })}` : `/channel/delete${queryOf({ topic, channel })}`;
    const atLookups = await this.delete("nsqlookupd", options.lookupdHttpAddresses, path);
    const atBrokers = await this.delete("nsqd", producers.map(httpAddress), path);
    const all = [...failures, ...atLookups.failures, ...atBrokers.failures];
    if (atLookups.done + atBrokers.done > 0) return all;
    if (all.length > 0) throw new AllFailed("nsqd", all);
    throw new NotFound(channel === "" ? "TOPIC_NOT_FOUND" : "CHANNEL_NOT_FOUND");
  }

  /** Changes a topic, or a channel of it if one is given, at all brokers that have the topic. */
  async change(change: Change, topic: string, channel = ""): Promise<UpstreamError[]> {
    const { value: producers, failures } = await this.parts.discovery.producersOf(topic);
    if (producers.length === 0) throw new NotFound("TOPIC_NOT_FOUND");
    checkChannel(channel);
    const path = channel === "" ? `/topic/${change}${queryOf({ topic })}` : `/channel/${change}${queryOf({ topic, channel })}`;
    try {
      return [...failures, ...(await this.post("nsqd", producers.map(httpAddress), path))];
    } catch (error) {
      if (!(error instanceof AllFailed) || !error.failures.every(({ status }) => status === 404)) throw error;
      throw new NotFound(channel === "" ? "TOPIC_NOT_FOUND" : "CHANNEL_NOT_FOUND");
    }
  }

  /** Hides a broker from those who look for a topic, at all lookup servers, and deletes the topic at the broker. */
  async tombstone(topic: string, node: string): Promise<UpstreamError[]> {
    const { discovery, options } = this.parts;
    const { value: producers, failures } = await discovery.producers();
    if (!producers.some((producer) => httpAddress(producer) === node)) throw new NotFound("NODE_NOT_FOUND");
    const lookups = options.lookupdHttpAddresses;
    if (lookups.length > 0) failures.push(...(await this.post("nsqlookupd", lookups, `/topic/tombstone${queryOf({ topic, node })}`)));
    const { done, failures: atBroker } = await this.delete("nsqd", [node], `/topic/delete${queryOf({ topic })}`);
    failures.push(...atBroker);
    if (lookups.length > 0 || done > 0) return failures;
    if (atBroker.length > 0) throw new AllFailed("nsqd", failures);
    throw new NotFound("TOPIC_NOT_FOUND");
  }

  /** Rejects with AllFailed if no server has done it. */
  private async post(kind: "nsqd" | "nsqlookupd", servers: readonly string[], path: string): Promise<UpstreamError[]> {
    return (await gather(kind, servers, (server) => this.parts.upstream.post(server, path))).failures;
  }

  /** Goes on with an action of which a part was done: that is no failure of the whole. */
  private async postMore(kind: "nsqd" | "nsqlookupd", servers: readonly string[], path: string): Promise<readonly UpstreamError[]> {
    return (await gather(kind, servers, (server) => this.parts.upstream.post(server, path)).catch(foundNothing)).failures;
  }

  /** Deletes something where it is. That it is not at a server is no failure of this server. */
  private async delete(
    kind: "nsqd" | "nsqlookupd",
    servers: readonly string[],
    path: string,
  ): Promise<{ done: number; failures: readonly UpstreamError[] }> {
    try {
      const { value, failures } = await gather(kind, servers, async (server) => {
        try {
          await this.parts.upstream.post(server, path);
          return 1;
        } catch (error) {
          if (error instanceof UpstreamError && error.status === 404) return 0;
          throw error;
        }
      });
      return { done: value.reduce((sum: number, done) => sum + done, 0), failures };
    } catch (error) {
      if (error instanceof AllFailed) return { done: 0, failures: error.failures };
      throw error;
    }
  }
}

/** Brokers would refuse such a name, which would look like their failure. @throws NotFound for a name that no channel can have */
function checkChannel(channel: string): void {
  if (channel !== "" && !isValidName(channel)) throw new NotFound("CHANNEL_NOT_FOUND");
}
