import { goQuote } from "../../../../base/go/quote.ts";
import { fatal, type ProtocolError } from "../../../../frame/error.ts";
import type { Line } from "../../../../frame/line.ts";
import { isValidName } from "../../../../frame/names.ts";
import type { Channel } from "../../../topics/channel/channel.ts";
import { type LogPosition, parseConsumeOffset, resolveLogPosition } from "../../../topics/inspect/log-position.ts";
import { NotLedHere } from "../../../topics/not-led-here.ts";
import type { Topic } from "../../../topics/topic.ts";
import type { TopicPartition } from "../../../topics/topic-partition.ts";
import { ExtendedEncoder } from "../../message-encoder.ts";
import { type CommandClient, STATE_INIT, STATE_SUBSCRIBED } from "../client.ts";
import { type Command, type CommandResult, WAIT } from "../command.ts";
import { ANY_PARTITION, checkWords, readPartition, TOPIC_NOT_EXIST } from "./parameters.ts";

/** What a command that subscribes asks for. */
interface Subscription {
  readonly name: string;
  /** Messages come with their offset and raw size. */
  readonly isDetailed: boolean;
  /** Messages come one after the other, in their order. */
  readonly isOrdered: boolean;
  /** The line may say where a channel without consumers begins. */
  readonly hasOffset: boolean;
}

/** `SUB topic channel [partition]\n`, from one of Youzan's clients: without a partition it gets the messages of all. */
export const YOUZAN_SUB: Command = command({ name: "SUB", isDetailed: false, isOrdered: false, hasOffset: false });
/** `SUB_ADVANCED topic channel [partition [offset]]\n` */
export const SUB_ADVANCED: Command = command({ name: "SUB_ADVANCED", isDetailed: true, isOrdered: false, hasOffset: true });
/** `SUB_ORDERED topic channel [partition]\n` */
export const SUB_ORDERED: Command = command({ name: "SUB_ORDERED", isDetailed: true, isOrdered: true, hasOffset: false });

const NOT_LEADER = fatal("E_FAILED_ON_NOT_LEADER", "");
const ORDER_NEEDED = fatal("E_SUB_ORDER_IS_MUST", "this topic is configured only allow ordered sub");
const EXTEND_NEEDED = fatal("E_SUB_EXTEND_NEED", "this topic is extended and should identify as extend support.");
const EXTEND_FORBIDDEN = fatal("E_SUB_EXTEND_FORBIDDON", "this topic is not extended and should not identify as extend support.");
const NOT_REGISTERED = fatal("E_SUB_CHANNEL_NOT_REGISTERED", "channel is not registered under topic.");

function command(subscription: Subscription): Command {
  return { execute: (client, line) => subscribe(client, line, subscription) };
}

function subscribe(client: CommandClient, line: Line, subscription: Subscription): CommandResult {
  const { isOrdered, isDetailed } = subscription;
  if (client.state !== STATE_INIT) return fatal("E_INVALID", "cannot SUB in current state");
  if (client.heartbeatIntervalMs === 0) return fatal("E_INVALID", "cannot SUB with heartbeats disabled");
  const target = readTarget(line, subscription);
  if ("code" in target) return target;
  const { topicName, channelName, index, start } = target;
  const refused = client.auth?.check("SUB", topicName, channelName);
  if (refused !== undefined) return refused;
  const topic = client.topics.known(line, 1) ?? madeTopic(client, topicName);
  if (topic === WAIT) return WAIT;
  if (topic instanceof NotLedHere) return NOT_LEADER;
  if (topic instanceof Error) return fatal("E_SUB_FAILED", `SUB failed ${topic.message}`);
  const partition = index === ANY_PARTITION ? undefined : topic?.partition(index);
  if (topic !== undefined && partition === undefined && topic.hasPartition(index) && client.topics.isOfCluster(topicName))
    return NOT_LEADER;
  if (topic === undefined || (partition === undefined && index !== ANY_PARTITION)) return TOPIC_NOT_EXIST;
  if (topic.served.length === 0 || partition?.serving === false) return NOT_LEADER;
  const unfit = checkTopic(client, topic, channelName, isOrdered);
  if (unfit !== undefined) return unfit;
  try {
    const channel = openChannel(topic, channelName, partition, start);
    if (client.topics.awaitsSharing(channel)) return WAIT;
    if (isOrdered) client.wishes = { ...client.wishes, order: "partition" };
    client.onlyLog = partition?.log;
    const refusal = channel.addConsumer(client);
    if (refusal !== undefined) return fatal("E_SUB_FAILED", `SUB failed ${refusal.message}`);
    client.channel = channel;
  } catch (error) {
    return fatal("E_SUB_FAILED", `SUB failed ${(error as Error).message}`);
  }
  const { extendSupport } = client.identity;
  client.useYouzanFrames((log) => {
    const from = topic.partitions.find((one) => one.log === log)?.index ?? 0;
    return new ExtendedEncoder(from, extendSupport, isDetailed, topic.settings.extended === true);
  });
  client.state = STATE_SUBSCRIBED;
  client.respondOk();
  return undefined;
}

/** A topic that does not exist is made for a client that negotiated `message_headers`, as it is for NSQ's. */
function madeTopic({ publisher, topics }: CommandClient, name: string): Topic | Error | typeof WAIT | undefined {
  if (topics.isOfCluster(name)) return new NotLedHere(name);
  if (!publisher.makesTopics) return undefined;
  try {
    return topics.open(name);
  } catch (error) {
    return topics.awaits(error) ? WAIT : (error as Error);
  }
}

/** What the line of a command names. */
interface Target {
  topicName: string;
  channelName: string;
  index: number;
  /** Undefined: none. */
  start: LogPosition | undefined;
}

function readTarget(line: Line, { name, hasOffset }: Subscription): Target | ProtocolError {
  if (line.words < 3) return fatal("E_INVALID", "SUB insufficient number of parameters");
  const topicName = line.text(1);
  if (!isValidName(topicName)) return fatal("E_BAD_TOPIC", `SUB topic name ${goQuote(topicName)} is not valid`);
  const channelName = line.text(2);
  if (!isValidName(channelName)) return fatal("E_BAD_CHANNEL", `SUB channel name ${goQuote(channelName)} is not valid`);
  const tooMany = checkWords(line, name, hasOffset ? 5 : 4);
  if (tooMany !== undefined) return tooMany;
  const index = readPartition(line, 3);
  if (typeof index !== "number") return index;
  const start = line.words > 4 && line.length(4) > 0 ? parseConsumeOffset(line.text(4)) : undefined;
  return start instanceof Error ? fatal("E_INVALID", start.message) : { topicName, channelName, index, start };
}

/** Whether a client may subscribe to a topic as it wants to, in the order of Youzan's server. */
function checkTopic(
  client: CommandClient,
  { settings, channels }: Topic,
  channelName: string,
  isOrdered: boolean,
): ProtocolError | undefined {
  const { extendSupport } = client.identity;
  // A client that negotiated `message_headers` may do what one of NSQ's may.
  if (!client.publisher.makesTopics) {
    if (settings.ordered === true && !isOrdered) return ORDER_NEEDED;
    if (settings.extended === true && !extendSupport) return EXTEND_NEEDED;
    if (settings.extended === false && extendSupport) return EXTEND_FORBIDDEN;
  }
  if (client.topics.isDraining) return NOT_LEADER;
  if (settings.fixedChannels === true && !channels.has(channelName)) return NOT_REGISTERED;
  if (isOrdered && client.sampleRate !== 0) return fatal("E_INVALID", "order consume is not allowed while sample rate is not 0");
  return undefined;
}

/**
 * The channel of a name. One that has no consumers begins at `start`, in one partition or in all; of others `start` is ignored.
 *
 * @throws what the metadata store throws; OperatorError NOT_SAVED
 */
function openChannel(topic: Topic, name: string, only: TopicPartition | undefined, start: LogPosition | undefined): Channel {
  if (start === undefined) return topic.channel(name);
  const startIn = (partition: TopicPartition) =>
    only === undefined || partition === only ? resolveLogPosition(partition, start) : undefined;
  const existing = topic.channels.get(name);
  if (existing === undefined) return topic.channel(name, startIn);
  if (existing.consumers.length > 0) return existing;
  for (const part of existing.partitions) {
    const sequence = startIn(part.partition);
    if (sequence !== undefined) part.seek(sequence);
  }
  return existing;
}
