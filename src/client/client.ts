export type { BackoffStrategy } from "./backoff.ts";
export type { Done, Receipt } from "./batch.ts";
export {
  BrokerClient,
  type ChannelOptions,
  type ChannelSettings,
  type DrainProgress,
  type LogPosition,
  type MessagePage,
  type PageOptions,
  type PeekedMessage,
  type PeekFormat,
  type Retention,
  type SeekResult,
  type WireFilter,
} from "./broker-client.ts";
export type { BrokerSource } from "./broker-list.ts";
export {
  type ClusterBroker,
  ClusterClient,
  type ClusterMove,
  type ClusterRecovery,
  type ClusterRisk,
  type ClusterStatus,
  type ClusterTopic,
} from "./cluster-client.ts";
export type { ConnectionOptions, DeliveryOptions } from "./connection-options.ts";
export { Consumer, type Handler, type RunOptions } from "./consumer.ts";
export type { ConsumerOptions } from "./consumer-options.ts";
export { BrokerError, ClientError, HttpError, PublishError } from "./errors.ts";
export type { ConsumerEvent, Features, LinkEvent, ProducerEvent } from "./events.ts";
export type { HttpOptions } from "./http.ts";
export { LookupClient, type LookupNode, type TopicPartitions } from "./lookup-client.ts";
export { Message, type RequeueOptions } from "./message.ts";
export type { MessageFilter } from "./message-filter.ts";
export type { HeaderValue, MessageHeaders, MessageOptions } from "./message-header.ts";
export type { Body } from "./outbox.ts";
export { type BatchMessage, Producer, type ProducerOptions, type PublishOptions } from "./producer.ts";
export type { Strategy } from "./strategy.ts";
export type { TlsOptions } from "./transport.ts";
