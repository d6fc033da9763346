import type { Logger, LogSubject } from "../../../base/logger.ts";
import type { BrokerOptions } from "../../options.ts";
import type { Channel } from "../../topics/channel/channel.ts";
import type { Consumer } from "../../topics/channel/consumer.ts";
import type { Topic } from "../../topics/topic.ts";
import type { ClientAuth } from "../client-auth.ts";
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
  /** Sets how many messages the client takes at once. */
  setReady(count: number): void;
  /** An existing topic, or a new one. The caller has checked the name. @throws PublishError when it cannot be made, or the broker is drained */
  openTopic(name: string): Topic;
}

/** A client that publishes: PUB, DPUB, MPUB. */
export interface PublishingClient extends Client {
  readonly publisher: Publisher;
}

/** A client that introduces itself: IDENTIFY. */
export interface IdentifyingClient extends PublishingClient {
  clientId: string;
  hostname: string;
  userAgent: string;
  /** 0: no heartbeats. */
  heartbeatIntervalMs: number;
  outputBufferSizeBytes: number;
  outputBufferTimeoutMs: number;
  /** Percentage of the messages that the client wants; 0: all. */
  sampleRate: number;
  msgTimeoutMs: number;
  /** Whether it matters to the broker where the client is. */
  readonly isLocated: boolean;
  setLocation(region: string, zone: string): void;
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
