import { type Load, LoadConnection } from "./connection.ts";
import type { DrainLoad } from "./job.ts";
import { MessageWalker } from "./message-walker.ts";
import { channelName, EXTENDED_HANDSHAKE, FIN, REQ, readyCommand, subscribeCommand } from "./wire.ts";

/**
 * Consumes and finishes all messages of the channel, on the load's connections.
 *
 * @param received called with the number of messages since the last call
 */
export async function consume(load: DrainLoad, tcpPort: number, received: (messages: number) => void): Promise<Consumer[]> {
  const opening = Array.from({ length: load.consumers }, async (_, n) => {
    const connection = load.extended
      ? await LoadConnection.identify(tcpPort, EXTENDED_HANDSHAKE)
      : await LoadConnection.identifyOver(tcpPort, load.layers);
    await connection.greet(subscribeCommand(channelName(n % (load.channels ?? 1))));
    return connection;
  });
  const consumers = (await Promise.all(opening)).map((connection) => new Consumer(connection, load.rdy, received, load.requeue));
  for (const consumer of consumers) consumer.start();
  return consumers;
}

/** A subscribed connection that answers each message. The answers to the messages of one `data` event are sent in one write. */
export class Consumer implements Load {
  private readonly walker: MessageWalker;

  constructor(
    private readonly connection: LoadConnection,
    private readonly rdy: number,
    private readonly received: (messages: number) => void,
    requeue = false,
  ) {
    this.walker = new MessageWalker(rdy, requeue ? REQ : FIN);
  }

  /** The number of messages with attempts above 1. */
  get redelivered(): number {
    return this.walker.redelivered;
  }

  start(): void {
    this.connection.load = this;
    this.sendReady(this.rdy);
  }

  /** Stops the delivery until the next start(). */
  stop(): void {
    this.sendReady(0);
  }

  private sendReady(count: number): void {
    // Behind FINs that the socket accepted only in part, RDY would be written into the middle of a line.
    if (this.walker.owedBytes > 0) throw new Error("RDY while FINs wait");
    const ready = readyCommand(count);
    this.connection.write(ready, 0, ready.length);
  }

  receive(data: Buffer): void {
    const before = this.walker.messages;
    this.walker.walk(data);
    this.walker.flush(this.connection);
    this.received(this.walker.messages - before);
  }

  drain(): void {
    this.walker.flush(this.connection);
  }
}
