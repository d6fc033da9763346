import { type Load, LoadConnection } from "./connection.ts";
import type { PublishLoad } from "./job.ts";
import { HttpReplyCounter, OkFrameCounter, type ReplyCounter } from "./replies.ts";
import { RingWriter } from "./ring-writer.ts";
import { httpPubRequest, mpubCommand, pubCommand, repeat } from "./wire.ts";

/** The bytes of one command of a load, and how many messages it carries. */
export function commandOf(load: PublishLoad): { bytes: Buffer; messages: number } {
  switch (load.command) {
    case "MPUB":
      return { bytes: mpubCommand(load.batch, load.bodyBytes), messages: load.batch };
    case "PUB":
      return { bytes: pubCommand(load.bodyBytes), messages: 1 };
    case "HTTP /pub":
      return { bytes: httpPubRequest(load.bodyBytes), messages: 1 };
  }
}

/** The commands that the connections of one load have yet to send: whoever is free takes the next. */
class Supply {
  constructor(private commandsLeft: number) {}

  /** @returns how many of `wanted` there are */
  take(wanted: number): number {
    const taken = Math.min(wanted, this.commandsLeft);
    this.commandsLeft -= taken;
    return taken;
  }
}

/**
 * Publishes `messages` over the load's connections.
 *
 * @param messages a multiple of the load's batch
 * @param acknowledged called with how many messages the server has acknowledged since the last call
 */
export async function publish(
  load: PublishLoad,
  ports: { tcpPort: number; httpPort: number },
  messages: number,
  acknowledged: (messages: number) => void,
): Promise<void> {
  const command = commandOf(load);
  if (messages % command.messages !== 0) throw new Error(`${messages} is not a multiple of ${command.messages}`);
  const supply = new Supply(messages / command.messages);
  // One ring for all: each connection sends the same bytes, and shared they stay in the processor's cache.
  const ring = repeat(command.bytes, load.outstanding);
  const http = load.command === "HTTP /pub";
  const opening = Array.from({ length: load.connections }, () =>
    http ? LoadConnection.connect(ports.httpPort) : LoadConnection.identify(ports.tcpPort),
  );
  for (const connection of await Promise.all(opening)) {
    const replies = http ? new HttpReplyCounter() : new OkFrameCounter();
    const publisher = new Publisher(connection, load, ring, replies, supply, (commands) => acknowledged(commands * command.messages));
    connection.load = publisher;
    publisher.fill();
  }
}

/** One connection that keeps up to `outstanding` commands under way. */
class Publisher implements Load {
  private readonly commands: RingWriter;
  private readonly commandBytes: number;
  private underWay = 0;

  constructor(
    private readonly connection: LoadConnection,
    private readonly load: PublishLoad,
    ring: Buffer,
    private readonly replies: ReplyCounter,
    private readonly supply: Supply,
    private readonly acknowledged: (commands: number) => void,
  ) {
    this.commands = new RingWriter(ring);
    this.commandBytes = ring.length / load.outstanding;
  }

  receive(data: Buffer): void {
    const replies = this.replies.count(data);
    this.underWay -= replies;
    if (this.underWay < 0) throw new Error("more replies than commands");
    if (!this.load.asTrains || this.underWay === 0) this.fill();
    this.acknowledged(replies);
  }

  drain(): void {
    this.commands.flush(this.connection);
  }

  /** Sends as many commands as may be under way. */
  fill(): void {
    const commands = this.supply.take(this.load.outstanding - this.underWay);
    this.underWay += commands;
    this.commands.owedBytes += commands * this.commandBytes;
    this.commands.flush(this.connection);
  }
}
