import type { Connection } from "./connection.ts";
import type { ConnectionSettings } from "./connection-options.ts";
import type { BrokerError, ClientError } from "./errors.ts";
import type { LinkEvent } from "./events.ts";
import { Link, type LinkOwner } from "./link.ts";
import { Subscription, type SubscriptionOwner } from "./subscription.ts";

/** What a consumer does for its brokers. */
export interface ConsumerBrokerOwner extends SubscriptionOwner {
  emit(event: LinkEvent): void;
  onLost(broker: ConsumerBroker, subscription: Subscription | undefined): void;
}

/** One broker of a consumer. */
export class ConsumerBroker implements LinkOwner {
  readonly link: Link;
  subscription: Subscription | undefined;

  constructor(
    readonly broker: string,
    settings: ConnectionSettings,
    private readonly owner: ConsumerBrokerOwner,
  ) {
    this.link = new Link(broker, settings, this);
  }

  prepare(connection: Connection): void {
    this.subscription = new Subscription(connection, this.owner);
  }

  onConnectFailed(): void {
    this.owner.onLost(this, undefined);
  }

  emit(event: LinkEvent): void {
    this.owner.emit(event);
  }

  onMessage(_connection: Connection, bytes: Uint8Array, from: number, to: number): void {
    this.subscription?.receive(bytes, from, to);
  }

  onResponse(_connection: Connection, text: string): void {
    this.subscription?.onResponse(text);
  }

  onErrorFrame(_connection: Connection, error: BrokerError): void {
    this.subscription?.onError(error);
  }

  onChunkEnd(): void {
    // The connection sends what was answered meanwhile.
  }

  onClosed(_connection: Connection, error: ClientError | undefined): void {
    const { subscription } = this;
    this.subscription = undefined;
    subscription?.end();
    this.link.onLost(error);
    this.owner.onLost(this, subscription);
  }
}
