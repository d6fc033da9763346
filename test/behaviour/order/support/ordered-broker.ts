import type { BrokerOptions } from "../../../../src/broker/options.ts";
import type { Channel } from "../../../../src/broker/topics/channel/channel.ts";
import type { ChannelPartition } from "../../../../src/broker/topics/channel/channel-partition.ts";
import type { SettingsJson } from "../../../../src/broker/topics/channel/channel-settings.ts";
import { removeFolder, temporaryFolder } from "../../../support/in-process.ts";
import { CutBroker } from "../../power-cut/support/cut-broker.ts";
import { headerOf, KeyedConsumer } from "./keyed-consumer.ts";

export const MSG_TIMEOUT_MS = 2000;
const TOPIC = "t";
const CHANNEL = "c";

/** A broker on a simulated disk and clock, with one topic and one channel that chooses its messages. */
export class OrderedBroker implements AsyncDisposable {
  cut: CutBroker;
  private readonly dataPath = temporaryFolder();
  private consumers: KeyedConsumer[] = [];

  constructor(settings: SettingsJson, partitions = 1, options: Partial<BrokerOptions> = {}) {
    this.cut = new CutBroker(this.dataPath, options);
    this.cut.broker.registry.topicWith(TOPIC, partitions);
    this.channel.changeSettings(settings);
  }

  get channel(): Channel {
    return this.cut.broker.registry.topic(TOPIC).channel(CHANNEL);
  }

  get part(): ChannelPartition {
    return this.channel.partitions[0];
  }

  get nowMs(): number {
    return this.cut.clock.steadyMs();
  }

  consumer(readyCount: number, choice: { tag?: string; filter?: object } = {}, msgTimeoutMs = MSG_TIMEOUT_MS): KeyedConsumer {
    const consumer = new KeyedConsumer(this.channel, readyCount, msgTimeoutMs, choice);
    this.consumers.push(consumer);
    this.channel.addConsumer(consumer);
    this.channel.markDirty();
    return consumer;
  }

  disconnect(consumer: KeyedConsumer): void {
    this.consumers = this.consumers.filter((other) => other !== consumer);
    this.channel.removeConsumer(consumer);
  }

  /** Appends a message, which is committed at the end of the turn. */
  publish(body: string, header: { key?: string; tag?: string; text?: string } = {}): void {
    const { registry, turn } = this.cut.broker;
    const bytes = Buffer.from(body, "latin1");
    const partition = registry.topic(TOPIC).partitionFor(Buffer.from(header.key ?? ""));
    partition.publishWithHeader(headerOf(header), bytes, 0, bytes.length, turn.time);
  }

  /** Ends the turn, and lets time pass. */
  async pass(ms = 2): Promise<void> {
    this.channel.markDirty();
    await this.cut.pass(ms);
  }

  /** Kills the broker and starts it again. */
  kill(): void {
    this.cut = this.cut.kill();
    this.restarted();
  }

  /** Ends the broker cleanly and starts it again. */
  async restart(): Promise<void> {
    await this.cut.close();
    this.cut = this.cut.reopen();
    this.restarted();
  }

  private restarted(): void {
    this.consumers = [];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cut.close();
    removeFolder(this.dataPath);
  }
}
