import { type Load, LoadConnection } from "./connection.ts";
import type { PublishLoad } from "./job.ts";
import { compressedOnce } from "./layers.ts";
import { HttpReplyCounter, OkFrameCounter, type ReplyCounter } from "./replies.ts";
import { RingWriter } from "./ring-writer.ts";
import {
  dpubCommand,
  HANDSHAKE,
  httpMpubRequest,
  httpPubRequest,
  jsonMpubCommand,
  mpubCommand,
  mpubExtCommands,
  pubCommand,
  repeat,
  topicNames,
} from "./wire.ts";

/** The commands of a load, one for each topic or key. All have the same length. */
function commandsOf(load: PublishLoad): Buffer[] {
  if (load.command === "MPUB_EXT") return mpubExtCommands(load.batch, load.bodyBytes, load.headerBytes ?? 0, load.keys ?? 0);
  return topicNames(load.topics ?? 1).map((topic) => commandOf(load, topic));
}

/** A command as it is written to the socket. */
function commandOf(load: PublishLoad, topic: string): Buffer {
  const compression = load.layers?.compression;
  return compression === undefined ? plainCommandOf(load, topic) : compressedOnce(compression, plainCommandOf(load, topic));
}

function plainCommandOf(load: PublishLoad, topic: string): Buffer {
  switch (load.command) {
    case "MPUB_EXT":
      throw new Error("MPUB_EXT is for one topic without layers");
    case "MPUB":
      return (load.json === true ? jsonMpubCommand : mpubCommand)(load.batch, load.bodyBytes, topic);
    case "DPUB":
      return dpubCommand(load.bodyBytes, topic);
    case "PUB":
      return pubCommand(load.bodyBytes, topic);
    case "HTTP /pub":
      return httpPubRequest(load.bodyBytes, topic);
    case "HTTP /mpub":
      return httpMpubRequest(load.batch, load.bodyBytes, topic);
  }
}

/** The length in bytes of one command of a load. */
export function commandBytes(load: PublishLoad): number {
  return commandsOf({ ...load, topics: Math.min(load.topics ?? 1, 2) })[0]?.length ?? 0;
}

export function isHttp(load: PublishLoad): boolean {
  return load.command.startsWith("HTTP");
}

/** The commands that are left for the connections of a load. A connection that is ready claims the next ones. */
class Supply {
  constructor(private commandsLeft: number) {}

  /** @returns how many of `wanted` commands the connection may send */
  claim(wanted: number): number {
    const claimed = Math.min(wanted, this.commandsLeft);
    this.commandsLeft -= claimed;
    return claimed;
  }

  /** Ends the load after the commands that are under way. */
  end(): void {
    this.commandsLeft = 0;
  }
}

/**
 * Publishes `messages` over the load's connections.
 *
 * @param messages a multiple of the load's batch
 * @param acknowledged called with the number of messages that the server has acknowledged since the last call
 * @param greeting the first bytes of a connection of the TCP protocol
 * @returns the commands that are left
 */
export async function publish(
  load: PublishLoad,
  ports: { tcpPort: number; httpPort: number },
  messages: number,
  acknowledged: (messages: number) => void,
  greeting = HANDSHAKE,
): Promise<Supply> {
  if (messages % load.batch !== 0) throw new Error(`${messages} is not a multiple of ${load.batch}`);
  const supply = new Supply(messages / load.batch);
  const commands = commandsOf(load);
  // One ring for all connections, because they send the same bytes, and shared bytes stay in the processor's cache.
  const ring = repeat(Buffer.concat(commands), Math.ceil(load.outstanding / commands.length));
  const http = isHttp(load);
  const opening = Array.from({ length: load.connections }, () =>
    http
      ? LoadConnection.connect(ports.httpPort)
      : load.layers === undefined
        ? LoadConnection.identify(ports.tcpPort, greeting)
        : LoadConnection.identifyOver(ports.tcpPort, load.layers),
  );
  for (const connection of await Promise.all(opening)) {
    const replies = http ? new HttpReplyCounter() : new OkFrameCounter();
    const publisher = new Publisher(connection, load, ring, commandBytes(load), replies, supply, (count) =>
      acknowledged(count * load.batch),
    );
    connection.load = publisher;
    publisher.fill();
  }
  return supply;
}

/** A connection with up to `outstanding` commands under way. */
class Publisher implements Load {
  private readonly commands: RingWriter;
  private underWay = 0;

  constructor(
    private readonly connection: LoadConnection,
    private readonly load: PublishLoad,
    ring: Buffer,
    private readonly commandBytes: number,
    private readonly replies: ReplyCounter,
    private readonly supply: Supply,
    private readonly acknowledged: (commands: number) => void,
  ) {
    this.commands = new RingWriter(ring);
  }

  receive(data: Buffer): void {
    const replies = this.replies.count(data);
    this.underWay -= replies;
    if (this.underWay < 0) throw new Error("more replies than commands");
    if (!this.load.asTrains || this.underWay === 0) this.fill();
    this.acknowledged(replies);
  }

  drain(): void {
    this.commands.flush(this.connection.socketSink);
  }

  /** Sends as many commands as may be under way. */
  fill(): void {
    const commands = this.supply.claim(this.load.outstanding - this.underWay);
    this.underWay += commands;
    this.commands.owedBytes += commands * this.commandBytes;
    this.commands.flush(this.connection.socketSink);
  }
}
