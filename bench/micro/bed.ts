import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Logger } from "../../src/base/logger.ts";
import { type Broker, openBroker } from "../../src/broker/broker.ts";
import type { BrokerOptions } from "../../src/broker/options.ts";
import { Connection } from "../../src/broker/tcp/connection.ts";
import type { Transport } from "../../src/broker/tcp/transport/tls.ts";
import type { Channel } from "../../src/broker/topics/channel/channel.ts";
import { IN_FLIGHT, type Window } from "../../src/broker/topics/channel/window.ts";
import type { Topic } from "../../src/broker/topics/topic.ts";
import { brokerFlags } from "../../src/cli/broker-flags.ts";
import { parseFlags } from "../../src/cli/flags.ts";
import { ID_CHARS, idLines, publishedBatch, reusable } from "./streams.ts";

/** Takes every byte at once and forgets it: what is measured then is the broker's own work, not the kernel's. */
export class NullTransport implements Transport {
  bytes = 0;

  write(_bytes: Uint8Array, _offset: number, length: number): number {
    this.bytes += length;
    return length;
  }
  end(): void {}
  terminate(): void {
    throw new Error("the broker hung up on the bench");
  }
  pause(): void {
    throw new Error("the broker stopped reading from the bench");
  }
  resume(): void {}
}

/** A complaint in the log means that the bench measures an error path. */
const LOG: Logger = {
  level: "error",
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: (line) => {
    throw new Error(line);
  },
  fatal: (line) => {
    throw new Error(line);
  },
};

/**
 * A broker without listeners, whose ticks the bench calls: everything between the bytes of a socket's callback and
 * the bytes of a socket's write, and nothing of the event loop or the kernel's network.
 */
export class Bed implements Disposable {
  readonly broker: Broker;
  private readonly dataPath = mkdtempSync(join(tmpdir(), "bunsq-micro-"));
  private nextConnectionId = 1;

  /** @param changes of the broker's defaults */
  constructor(changes: Partial<BrokerOptions> = {}) {
    const { options } = parseFlags(brokerFlags("micro"), []);
    this.broker = openBroker({ ...options, ...changes, dataPath: this.dataPath }, LOG);
    // A synchronous loop never gets to the event loop: what would be scheduled there only piled up.
    this.broker.turn.schedule = () => {};
  }

  tick(): void {
    this.broker.tick.run();
  }

  /** A connection that has said its magic. */
  connect(): Connection {
    const id = this.nextConnectionId++;
    const connection = new Connection(this.broker, this.broker.listener, id, new NullTransport(), `127.0.0.1:${id}`);
    this.broker.listener.connections.set(id, connection);
    connection.receive(Buffer.from("  V2"));
    return connection;
  }

  /** Lets go of what a topic without channels holds, as if a channel had finished all of it. */
  forget(topic: Topic): void {
    topic.released = topic.log.committedNext;
    topic.releasedPosition = topic.log.committedEnd;
    topic.trimLog();
  }

  [Symbol.dispose](): void {
    rmSync(this.dataPath, { recursive: true, force: true });
  }
}

/** A channel with one consumer that has `count` messages in flight, and the lines that answer for each of them. */
export class InFlight {
  readonly topic: Topic;
  readonly channel: Channel;
  readonly consumer: Connection;
  readonly fins: Buffer;
  readonly requeues: Buffer;
  private readonly window: Window;
  private readonly first: number;

  constructor(
    private readonly bed: Bed,
    name: string,
    private readonly count: number,
  ) {
    this.consumer = bed.connect();
    this.consumer.receive(Buffer.from(`SUB ${name} ch#ephemeral\nRDY ${count}\n`));
    this.topic = bed.broker.registry.topic(name);
    this.channel = this.topic.channel("ch#ephemeral");
    this.window = this.channel.inFlight.window;
    this.first = this.topic.log.next;
    const batch = publishedBatch(count, 200);
    this.topic.publishMany(batch, 0, batch.length, count, bed.broker.turn.time);
    bed.tick();
    this.check();
    this.fins = reusable(idLines("FIN ", "\n", this.topic.log.prefix, this.first, count));
    this.requeues = reusable(idLines("REQ ", " 0\n", this.topic.log.prefix, this.first, count));
    if (this.fins.length !== count * ("FIN \n".length + ID_CHARS)) throw new Error("FIN lines are not as long as they should be");
  }

  /** After all were finished: as if they had just been delivered again, so that the same lines hold once more. */
  rewind(): void {
    const { window, count, first } = this;
    if (window.floor !== first + count) throw new Error(`${first + count - window.floor} messages are not finished`);
    window.floor = first;
    for (let sequence = first; sequence < first + count; sequence++) window.state[sequence & window.mask] = IN_FLIGHT;
    window.unfinished += count;
    this.channel.inFlight.count += count;
    this.consumer.inFlightCount += count;
  }

  /** Ticks until all are with the consumer: a turn makes no more than so many redeliveries. */
  untilDelivered(): void {
    for (let ticks = 0; this.consumer.inFlightCount < this.count && ticks < this.count; ticks++) this.bed.tick();
    this.check();
  }

  private check(): void {
    if (this.consumer.inFlightCount !== this.count) throw new Error(`${this.consumer.inFlightCount} of ${this.count} are in flight`);
  }
}
