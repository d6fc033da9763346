import { Refusal } from "../../http/server/reply.ts";
import type { ActionResult } from "../console-api.ts";
import type { Discovery } from "../upstream/discovery.ts";
import { fieldsOf, numberOf } from "../upstream/fields.ts";
import { foundNothing } from "../upstream/gather.ts";
import { httpAddress } from "../upstream/producer.ts";
import { queryOf, type Upstream, type UpstreamError } from "../upstream/upstream.ts";
import type { Cluster } from "../watch/cluster.ts";
import type { Replication } from "../watch/replication.ts";
import type { CheckedAction } from "./action-request.ts";
import { ClusterActions } from "./cluster-actions.ts";
import { atEach, failedAt, type Outcome, type ServerResult, unsupportedAt } from "./server-results.ts";

/** The parts of the console that actions need. */
export interface ConsoleActionParts {
  readonly upstream: Upstream;
  readonly discovery: Discovery;
  readonly watcher: { readonly cluster: Pick<Cluster, "brokers" | "lookups">; readonly replication: Replication };
  readonly options: { readonly lookupdHttpAddresses: readonly string[]; readonly nsqdHttpAddresses: readonly string[] };
}

/** Carries out actions of operators at one server or all that it concerns, and says how each took it. */
export class ConsoleActions {
  private readonly ofCluster: ClusterActions;

  constructor(private readonly parts: ConsoleActionParts) {
    this.ofCluster = new ClusterActions(parts);
  }

  /** @throws Refusal 404 if nobody has what it is about; AllFailed if it cannot be found out who has it */
  async carryOut(action: CheckedAction): Promise<ActionResult> {
    switch (action.action) {
      case "create":
        return this.create(action);
      case "delete":
        return this.remove(action);
      case "tombstone":
        return this.tombstone(action);
      case "drain":
        await this.checkBroker(action.broker);
        return resultOf(await this.post([action.broker], "/drain"));
      case "seek":
        return this.seek(action);
      case "expand":
        return this.expand(action);
      case "move":
      case "lead":
      case "replicas":
      case "remove_node":
      case "keep_node":
      case "balance":
        return resultOf(await this.ofCluster.carryOut(action));
      case "delivery":
        return this.atBrokers(action, `/channel/settings${queryOf({ topic: action.topic, channel: action.channel, ...action.values })}`);
      default:
        return this.atBrokers(action, pathOf(action));
    }
  }

  /** At the lookup servers and the brokers that have the topic; at all brokers without lookup servers; or at one broker. */
  private async create({ topic, channel, broker, values }: CheckedAction): Promise<ActionResult> {
    const { discovery, options } = this.parts;
    const { partition_num: partitions = "1", ...delivery } = values;
    const isSplit = partitions !== "1";
    const topicPath = `/topic/create${queryOf(isSplit ? { topic, partition_num: partitions } : { topic })}`;
    const paths = [topicPath, ...(channel === "" ? [] : [`/channel/create${queryOf({ topic, channel, ...delivery })}`])];
    const isChosen = Object.keys(delivery).length > 0;
    const inOrder = async (servers: readonly string[]) => {
      let outcomes: Outcome[] = [];
      for (const path of paths) {
        const failed = outcomes.filter(({ ok }) => !ok);
        const going = path === paths[0] ? servers : outcomes.filter(({ ok }) => ok).map(({ server }) => server);
        outcomes = [...failed, ...(await this.post(going, path, path === paths[0] ? isSplit : isChosen))];
      }
      return outcomes;
    };
    if (broker !== "") {
      await this.checkBroker(broker);
      return resultOf(await inOrder([broker]));
    }
    if (!discovery.hasLookups) return resultOf(await inOrder(options.nsqdHttpAddresses));
    // Lookup servers would forget how a channel is to deliver, so brokers have to have it.
    if (isChosen && !isSplit) {
      const { value, failures } = await discovery.producersOf(topic);
      if (value.length === 0 && failures.length === 0) throw new Refusal(404, "TOPIC_NOT_FOUND");
    }
    const outcomes = await inOrder(isSplit ? [this.placingLookup()] : options.lookupdHttpAddresses);
    if (channel === "") return resultOf(outcomes);
    // Brokers that have the topic ask lookup servers for its channels only when they create it.
    const { value, failures } = await discovery.producersOf(topic).catch(foundNothing);
    return resultOf([...outcomes, ...(await this.post(value.map(httpAddress), paths.at(-1) ?? "", isChosen))], failures);
  }

  /**
   * At a lookup server of the cluster, if it is a topic of one; else at the brokers that have the topic. Those that have some of its partitions only do not know who gets the new ones: a lookup server
   * then tells them.
   */
  private async expand({ topic, broker, values }: CheckedAction): Promise<ActionResult> {
    const inCluster = broker === "" ? await this.ofCluster.expand(topic, values.partition_num ?? "") : undefined;
    if (inCluster !== undefined) return resultOf(inCluster);
    const path = `/topic/partition/expand${queryOf({ topic, ...values })}`;
    const { brokers, failures } = await this.brokersWith(topic, broker);
    const outcomes = await this.post(brokers, path);
    const unable = outcomes.filter(({ unsupported }) => unsupported === true);
    const able = outcomes.filter(({ unsupported }) => unsupported !== true);
    const arePlaced = able.length > 0 && able.every(({ message }) => message === "MISSING_ARG_PARTITIONS");
    if (!arePlaced) return presentResult(outcomes, failures, "");
    return resultOf([...unable, ...(await this.post([this.placingLookup()], path))]);
  }

  /** A lookup server that has brokers make partitions. Go's does not. @throws Refusal 400 MISSING_BROKER */
  private placingLookup(): string {
    const { lookups } = this.parts.watcher.cluster;
    for (const { address, isUp, product } of lookups.values()) if (isUp && product === "bunsq") return address;
    throw new Refusal(400, "MISSING_BROKER");
  }

  private async remove({ topic, channel, broker }: CheckedAction): Promise<ActionResult> {
    const path = channel === "" ? `/topic/delete${queryOf({ topic })}` : `/channel/delete${queryOf({ topic, channel })}`;
    const { brokers, failures } = await this.brokersWith(topic, broker);
    // The brokers were found first: lookup servers do not know them any more afterwards.
    const lookups = broker === "" ? this.parts.options.lookupdHttpAddresses : [];
    // Brokers of a cluster delete a topic of it at all of them, if that is said.
    const atBrokers = channel === "" ? `${path}&partition=**` : path;
    const outcomes = [...(await this.post(lookups, path)), ...(await this.post(brokers, atBrokers))];
    return presentResult(outcomes, failures, channel);
  }

  /** Hides a broker from those who look for a topic, and deletes the topic there. */
  private async tombstone({ topic, broker }: CheckedAction): Promise<ActionResult> {
    await this.checkBroker(broker);
    const lookups = this.parts.options.lookupdHttpAddresses;
    const atLookups = await this.post(lookups, `/topic/tombstone${queryOf({ topic, node: broker })}`);
    const atBroker = await this.post([broker], `/topic/delete${queryOf({ topic })}`);
    return presentResult([...atLookups, ...atBroker], [], "");
  }

  private async seek(action: CheckedAction): Promise<ActionResult> {
    const { topic, channel, broker, to, preview } = action;
    const path = `/channel/seek${queryOf({ topic, channel, to })}`;
    const { brokers, failures } = await this.brokersWith(topic, broker);
    if (!preview) return presentResult(await this.post(brokers, path), failures, channel);
    const outcomes = await atEach(brokers, this.productOf, (server) => this.parts.upstream.getJson(server, path));
    const previews = outcomes.flatMap(({ server, ok, answer }) => (ok ? [previewOf(server, answer)] : []));
    return { ...presentResult(outcomes, failures, channel), preview: previews };
  }

  private async atBrokers({ topic, channel, broker }: CheckedAction, path: string): Promise<ActionResult> {
    const { brokers, failures } = await this.brokersWith(topic, broker);
    return presentResult(await this.post(brokers, path), failures, channel);
  }

  /** The brokers that have a topic, or the one that is given. */
  private async brokersWith(topic: string, broker: string): Promise<{ brokers: string[]; failures: readonly UpstreamError[] }> {
    if (broker === "") {
      const { value, failures } = await this.parts.discovery.producersOf(topic);
      return { brokers: value.map(httpAddress), failures };
    }
    await this.checkBroker(broker);
    return { brokers: [broker], failures: [] };
  }

  /** Who asks chooses the address, and nothing else than a broker may be asked. @throws Refusal 404 */
  private async checkBroker(broker: string): Promise<void> {
    const { options, discovery } = this.parts;
    if (options.nsqdHttpAddresses.includes(broker)) return;
    const { value } = await discovery.producers();
    if (!value.some((producer) => httpAddress(producer) === broker)) throw new Refusal(404, "BROKER_NOT_FOUND");
  }

  private readonly productOf = (server: string): string => {
    const { product, version } = this.parts.watcher.cluster.brokers.get(server) ?? { product: "", version: "" };
    return product === "" ? "" : `${product === "nsq" ? "nsqd" : product} ${version}`;
  };

  /** @param isOwn the path has arguments that Go's nsqd would ignore: it is not asked, and told of as one that does not know the call */
  private async post(servers: readonly string[], path: string, isOwn = false): Promise<Outcome[]> {
    const { brokers } = this.parts.watcher.cluster;
    const isUnable = (server: string) => isOwn && brokers.get(server)?.product === "nsq";
    const unable = servers.filter(isUnable).map((server) => unsupportedAt(server, this.productOf));
    const able = servers.filter((server) => !isUnable(server));
    return [...unable, ...(await atEach(able, this.productOf, (server) => this.parts.upstream.post(server, path)))];
  }
}

/** The broker's call for an action that is one call. */
function pathOf({ action, topic, channel, values }: CheckedAction): string {
  return channel === ""
    ? `/topic/${action}${queryOf({ topic, ...values })}`
    : `/channel/${action}${queryOf({ topic, channel, ...values })}`;
}

/** Servers that do not have the thing are left out, unless none has it. @throws Refusal 404 */
function presentResult(outcomes: readonly Outcome[], failures: readonly UpstreamError[], channel: string): ActionResult {
  const having = outcomes.filter(({ isMissing }) => !isMissing);
  if (having.length === 0 && failures.length === 0) {
    const isChannel = channel !== "" && outcomes.some(({ message }) => message === "CHANNEL_NOT_FOUND");
    throw new Refusal(404, isChannel ? "CHANNEL_NOT_FOUND" : "TOPIC_NOT_FOUND");
  }
  return resultOf(having, failures);
}

function resultOf(outcomes: readonly Outcome[], failures: readonly UpstreamError[] = []): ActionResult {
  const results: ServerResult[] = outcomes.map(({ server, ok, message, unsupported }) => {
    return { server, ok, message, ...(unsupported === undefined ? {} : { unsupported }) };
  });
  results.push(...failures.map(failedAt));
  return { ok: results.some(({ ok }) => ok) && results.every(({ ok, unsupported }) => ok || unsupported === true), results };
}

function previewOf(broker: string, answer: unknown) {
  const fields = fieldsOf(answer);
  const number = (name: string) => numberOf(fields, name);
  const isSplit = fields.partitions !== undefined;
  const place = (name: string) => (isSplit ? null : number(name));
  return { broker, from: place("from"), to: place("sequence"), depth: number("depth"), new_depth: number("new_depth") };
}
