import { isValidName } from "../frame/names.ts";
import { type BackoffSettings, type BackoffStrategy, backoffMs } from "./backoff.ts";
import type { BrokerSource } from "./broker-list.ts";
import { type ConnectionOptions, checkPartition, type DeliveryOptions, notNegative } from "./connection-options.ts";
import { ClientError } from "./errors.ts";
import type { ConsumerEvent } from "./events.ts";
import type { Message } from "./message.ts";

/** Options of a Consumer. Give `brokers`, or `lookups` to receive from all brokers that have the topic. */
export interface ConsumerOptions extends ConnectionOptions, BrokerSource, DeliveryOptions {
  topic: string;
  channel: string;
  /** How many messages may be received and not answered, over all brokers. Default 1, as in other clients; for throughput 100 and more. */
  maxInFlight?: number;
  /**
   * What happens when a message fails. "all", the default: all connections pause, as in go-nsq. "message": only this message is
   * delayed. False: nothing beside its requeueing.
   */
  backoff?: "all" | "message" | false;
  /** A pause lasts `backoffMultiplierMs` times 2^level, up to `maxBackoffMs`, or with "full-jitter" a random part of it. Default 1,000 and 120,000. */
  backoffStrategy?: BackoffStrategy;
  backoffMultiplierMs?: number;
  maxBackoffMs?: number;
  /** A failed message is delivered again after this time for each attempt, ms, up to `maxRequeueDelayMs`. Default 90,000 and 900,000. */
  requeueDelayMs?: number;
  maxRequeueDelayMs?: number;
  /** How often a message is tried. 0: without end. Default 5. */
  maxAttempts?: number;
  /** Called for a message that has used up its attempts, before it is finished. If it fails, the message is requeued. */
  onGiveUp?: (message: Message, error: Error | undefined) => unknown;
  /** Where such messages are published, on their own broker. */
  deadLetterTopic?: string;
  /** "auto": messages are touched until they are answered, up to the broker's maximum. */
  touch?: "auto" | "manual";
  /** Called for each event. */
  onEvent?: (event: ConsumerEvent) => void;
  /** Random numbers in [0, 1); tests give others. */
  random?: () => number;
}

const ORDERS = ["none", "key", "partition"];

/** Whether messages are to come with their headers. */
export function wantsHeaders({ headers, order, tag, filter, partition, deadLetterTopic }: ConsumerOptions): boolean {
  return headers ?? [order, tag, filter, partition, deadLetterTopic].some((option) => option !== undefined);
}

/** The options of a consumer with their defaults. */
export interface ConsumerSettings {
  readonly topic: string;
  readonly channel: string;
  readonly maxInFlight: number;
  readonly maxAttempts: number;
  readonly deadLetterTopic: string | undefined;
  readonly isTouching: boolean;
  readonly backsOff: boolean;
  readonly backoff: BackoffSettings;
  readonly onGiveUp: ((message: Message, error: Error | undefined) => unknown) | undefined;
  /** The delay of a message that failed, ms. */
  readonly requeueDelayMs: (attempts: number) => number;
  readonly wishes: Wishes;
}

/** What a consumer asks of a broker that not every broker has. */
export interface Wishes {
  readonly order: string | undefined;
  readonly partition: number | undefined;
  /** It asks for a tag, a filter or a partition. */
  readonly isChoosing: boolean;
}

/** @throws ClientError INVALID_OPTION */
export function consumerSettings(options: ConsumerOptions): ConsumerSettings {
  const { topic, channel, deadLetterTopic } = options;
  for (const name of [topic, channel, deadLetterTopic ?? topic]) {
    if (!isValidName(name)) throw new ClientError("INVALID_OPTION", `invalid topic or channel name ${JSON.stringify(name)}`);
  }
  const { order, tag, filter, partition, headers } = options;
  if (order !== undefined && !ORDERS.includes(order))
    throw new ClientError("INVALID_OPTION", `order is none, key or partition, not ${order}`);
  const isChoosing = tag !== undefined || filter !== undefined || partition !== undefined;
  if (isChoosing && headers === false) throw new ClientError("INVALID_OPTION", "tag, filter and partition need messages with headers");
  const multiplierMs = notNegative("backoffMultiplierMs", options.backoffMultiplierMs ?? 1_000);
  const maxMs = notNegative("maxBackoffMs", options.maxBackoffMs ?? 120_000);
  const strategy = options.backoffStrategy ?? "exponential";
  const backoff: BackoffSettings = { strategy, multiplierMs, maxMs, random: options.random ?? Math.random };
  const delayMs = notNegative("requeueDelayMs", options.requeueDelayMs ?? 90_000);
  const maxDelayMs = notNegative("maxRequeueDelayMs", options.maxRequeueDelayMs ?? 900_000);
  const isPerMessage = options.backoff === "message";
  return {
    topic,
    channel,
    maxInFlight: Math.floor(notNegative("maxInFlight", options.maxInFlight ?? 1)),
    maxAttempts: Math.floor(notNegative("maxAttempts", options.maxAttempts ?? 5)),
    deadLetterTopic,
    isTouching: options.touch === "auto",
    backsOff: (options.backoff ?? "all") === "all" && maxMs > 0,
    backoff,
    onGiveUp: options.onGiveUp,
    wishes: {
      order,
      partition: checkPartition(partition),
      isChoosing,
    },
    requeueDelayMs: isPerMessage
      ? (attempts) => Math.min(backoffMs(backoff, attempts), maxMs)
      : (attempts) => Math.min(delayMs * attempts, maxDelayMs),
  };
}
