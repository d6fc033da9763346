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

/** Accepts and drops all bytes, so that the broker's own work is measured, and not the kernel's. */
export class NullTransport implements Transport {
  bytes = 0;

  write(_bytes: Uint8Array, _offset: number, length: number): number {
    this.bytes += length;
    return length;
  }
  end(): void {}
  terminate(): void {
    throw new Error("the broker closed the connection of the bench");
  }
  pause(): void {
    throw new Error("the broker stopped reading from the bench");
  }
  resume(): void {}
}

/** An error in the log means that the bench measures an error path. */
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
 * A broker without listeners whose ticks the bench calls. A measurement includes everything between the bytes of a socket's
 * callback and the bytes of a socket's write, but not the event loop and the kernel's network.
 */
export class Bed implements Disposable {
  readonly broker: Broker;
  private readonly dataPath = mkdtempSync(join(tmpdir(), "bunsq-micro-"));
  private nextConnectionId = 1;

  /** @param changes options that differ from the broker's defaults */
  constructor(changes: Partial<BrokerOptions> = {}) {
    const { options } = parseFlags(brokerFlags("micro"), []);
    this.broker = openBroker({ ...options, ...changes, dataPath: this.dataPath }, LOG);
    // The bench is a synchronous loop that never returns to the event loop, so scheduled ticks would only accumulate.
    this.broker.turn.schedule = () => {};
  }

  tick(): void {
    this.broker.tick.run();
  }

  /** Makes a connection that has sent its magic. */
  connect(): Connection {
    const id = this.nextConnectionId++;
    const connection = new Connection(this.broker, this.broker.listener, id, new NullTransport(), `127.0.0.1:${id}`);
    this.broker.listener.connections.set(id, connection);
    connection.receive(Buffer.from("  V2"));
    return connection;
  }

  /** Frees the messages of a topic without channels, as if a channel had finished all of them. */
  forget(topic: Topic): void {
    for (const partition of topic.partitions) {
      partition.released = partition.log.committedNext;
      partition.releasedPosition = partition.log.committedEnd;
      partition.trimLog();
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.dataPath, { recursive: true, force: true });
  }
}

/** A channel with one consumer that has `count` messages in flight, and the lines that answer each of them. */
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
    this.window = this.channel.partitions[0].inFlight.window;
    this.first = this.topic.partitions[0].log.next;
    const batch = publishedBatch(count, 200);
    this.topic.partitions[0].publishMany(batch, 0, batch.length, count, bed.broker.turn.time);
    bed.tick();
    this.check();
    this.fins = reusable(idLines("FIN ", "\n", this.topic.partitions[0].log.prefix, this.first, count));
    this.requeues = reusable(idLines("REQ ", " 0\n", this.topic.partitions[0].log.prefix, this.first, count));
    if (this.fins.length !== count * ("FIN \n".length + ID_CHARS)) throw new Error("FIN lines are not as long as they should be");
  }

  /** Sets finished messages back to in flight, so that the lines can be used again. */
  rewind(): void {
    const { window, count, first } = this;
    if (window.floor !== first + count) throw new Error(`${first + count - window.floor} messages are not finished`);
    window.floor = first;
    for (let sequence = first; sequence < first + count; sequence++) window.state[sequence & window.mask] = IN_FLIGHT;
    window.unfinished += count;
    this.channel.partitions[0].inFlight.count += count;
    this.consumer.inFlightCount += count;
  }

  /** Ticks until the consumer has all messages again, because the number of redeliveries per turn is limited. */
  untilDelivered(): void {
    for (let ticks = 0; this.consumer.inFlightCount < this.count && ticks < this.count; ticks++) this.bed.tick();
    this.check();
  }

  private check(): void {
    if (this.consumer.inFlightCount !== this.count) throw new Error(`${this.consumer.inFlightCount} of ${this.count} are in flight`);
  }
}
