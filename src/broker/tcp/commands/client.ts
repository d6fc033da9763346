import type { Logger, LogSubject } from "../../../base/logger.ts";
import type { BrokerOptions } from "../../options.ts";
import type { TopicLog } from "../../storage/log/topic-log.ts";
import type { Channel } from "../../topics/channel/channel.ts";
import type { Consumer, ConsumerWishes } from "../../topics/channel/consumer.ts";
import type { ClientAuth } from "../client-auth.ts";
import type { ClientTopics } from "../client-topics.ts";
import type { Identity } from "../identity.ts";
import type { MessageEncoder } from "../message-encoder.ts";
import type { Publisher } from "../publisher.ts";
import type { Upgrade } from "../transport/layers.ts";

// What a client has done so far, by nsqd's numbers. /stats shows them.
export const STATE_INIT = 0;
export const STATE_SUBSCRIBED = 3;
/** The client has sent CLS: it still finishes the messages that it has, and gets no new ones. */
export const STATE_CLOSING = 4;

/** The client that sent a command. */
export interface Client extends LogSubject {
  readonly options: BrokerOptions;
  readonly logger: Logger;
  /** `ip:port`, as nsqd shows it. */
  readonly remoteAddress: string;
  /** One of the STATE_… constants. */
  state: number;
  /** Undefined: every client may do everything. */
  readonly auth: ClientAuth | undefined;
  readonly identity: Identity;
  /** The client speaks Youzan's form of the protocol from here on: it has said so, or sent a command that only that one has. */
  speakYouzan(): void;
  /** Sends a whole frame. Frames leave in the order of their commands, also if an earlier one waits for a commit. */
  respond(frame: Buffer): void;
  respondOk(): void;
}

/** A client that consumes: SUB, RDY, FIN, REQ, TOUCH, CLS. */
export interface ConsumingClient extends Client, Consumer {
  /** The channel that the client is subscribed to. */
  channel: Channel | undefined;
  /** 0: the client wants no heartbeats. */
  readonly heartbeatIntervalMs: number;
  finishCount: number;
  requeueCount: number;
  /** Ids of messages are 16 bytes of any kind, as Youzan's are; else hex digits. */
  readonly hasRawIds: boolean;
  /** The client gets messages in Youzan's frames, with raw ids. To be called before the first one. @param encoderFor makes the encoder for a log */
  useYouzanFrames(encoderFor: (log: TopicLog) => MessageEncoder): void;
  /** Only messages of this log are delivered to the client; undefined: those of all partitions of its topic. */
  onlyLog: TopicLog | undefined;
  wishes: ConsumerWishes;
  /** Sets how many messages the client takes at once. */
  setReady(count: number): void;
  readonly topics: ClientTopics;
}

/** A client that publishes: PUB, DPUB, MPUB. */
export interface PublishingClient extends Client {
  readonly publisher: Publisher;
}

/** A client that introduces itself: IDENTIFY. */
export interface IdentifyingClient extends PublishingClient {
  readonly topics: ClientTopics;
  /** 0: no heartbeats. */
  heartbeatIntervalMs: number;
  /** Percentage of the messages that the client wants; 0: all. */
  sampleRate: number;
  msgTimeoutMs: number;
  wishes: ConsumerWishes;
  /** The heartbeat interval may have changed: the next heartbeat is due one interval from now. */
  restartHeartbeat(): void;
  /** Whether the broker offers a layer. */
  offers(layer: Upgrade["layer"]): boolean;
  /** Whether layers were agreed on before. */
  readonly isUpgraded: boolean;
  /** Puts on the layers that IDENTIFY agreed on, once its response is out. */
  upgrade(upgrades: Upgrade[]): void;
}

/** All that the commands need of a client together. Each command names the part that it uses. */
export type CommandClient = ConsumingClient & IdentifyingClient;
