import type { Channel } from "../../../../src/broker/topics/channel/channel.ts";
import type { Topic } from "../../../../src/broker/topics/topic.ts";
import { NO_BYTES } from "../../../../src/frame/header.ts";
import { headerFor } from "../../../support/headed-message.ts";
import type { MemoryConsumer } from "../../../support/memory-consumer.ts";
import type { Random } from "../../../support/random.ts";
import { CHANNEL, type Site } from "../../../support/site.ts";
import type { Request } from "./file-kinds.ts";
import type { Ledger, Sent } from "./ledger.ts";

/** Topics that publish together, so that their messages go to the journal. */
const JOURNALED = ["j1", "j2", "j3", "j4", "j5"];
export const LASTING_TOPICS = ["victim", "other", ...JOURNALED];
/** Beyond what a broker keeps for the next minute, so that it is cascaded. */
const WIDE_DELAY_MS = 62_000;
const READY = 20;
/** Keys are repeated within this time: less than they are remembered. */
const REPEATED_MS = 1000;

/** What clients and operators do to a broker, step by step, so that it uses all of its files. */
export class Traffic {
  private readonly consumers = new Map<Channel, MemoryConsumer>();
  private readonly made: string[] = [];
  private step = 0;

  constructor(
    private readonly site: Site,
    private readonly ledger: Ledger,
    private readonly random: Random,
  ) {
    this.ledger.run++;
  }

  /** Does what clients do in 50 ms. */
  async go(): Promise<void> {
    const step = this.step++;
    const { random } = this;
    this.subscribe();
    for (let i = random.int(1, 3); i > 0; i--) this.publish("victim");
    if (step % 2 === 0) this.publish("other");
    if (step % 4 === 1) for (const topic of JOURNALED) this.publish(topic);
    if (step % 3 === 0) this.publish(random.pick(["victim", "other"]), random.pick([300, 800, 2500]));
    if (step % 10 === 2) this.publish(random.pick(["victim", "other"]), WIDE_DELAY_MS);
    if (step % 5 === 1) this.publish(random.pick(["victim", "other"]), random.pick([0, 0, 600]), `key ${this.ledger.next}`);
    if (step % 5 === 4) this.repeat();
    if (step % 12 === 3) this.makeTopic(`${random.pick(["victim", "doomed", "bystander"])}-${this.ledger.next++}`, true);
    if (step % 12 === 7) this.makeChannel(random.pick(["victim", "other"]));
    if (step % 6 === 5) this.deleteTopic();
    await this.site.pass(50);
    this.answer(0.85);
  }

  /** Lets time pass, in which consumers finish all that they get. */
  async settle(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 100) {
      this.subscribe();
      await this.site.pass(100);
      this.answer(1);
    }
  }

  /** Publishes a message, and finds out later what came of it. */
  publish(name: string, deferMs = 0, key = "", repeats = false): Sent {
    const { ledger, site } = this;
    const body = `${ledger.next++} ${name} ${deferMs} ${key} ${"x".repeat(this.random.int(0, 250))}`;
    const requests: Request[] = [deferMs > 0 ? "defer" : "publish"];
    if (key !== "") requests.push("publish with a key");
    const now = { run: ledger.run, sentMs: site.clock.wallMs() };
    const sent: Sent = { body, topic: name, key, deferMs, state: "sent", ...now, finishedMs: undefined, mayRepeat: false, requeued: false };
    ledger.messages.set(body, sent);
    const refuse = (error: unknown) => {
      if (ledger.run !== sent.run) return;
      sent.state = "refused";
      ledger.refuse(requests, name, error);
    };
    let topic: Topic;
    try {
      topic = site.broker.registry.topic(name);
    } catch (error) {
      refuse(error);
      return sent;
    }
    // Every other message has a header.
    const header = ledger.next % 2 === 0 ? NO_BYTES : headerFor(body);
    site.broker.publishing.publish(topic.nextPartition(), key, Buffer.from(body), deferMs, undefined, header).then(() => {
      if (ledger.run === sent.run) sent.state = repeats ? "repeat" : "acknowledged";
    }, refuse);
    return sent;
  }

  /** Publishes again with a key that was used. It is no message of its own if that one was acknowledged. */
  private repeat(): void {
    const sinceMs = this.site.clock.wallMs() - REPEATED_MS;
    const keyed = [...this.ledger.messages.values()].filter(
      ({ key, state, sentMs }) => key !== "" && state === "acknowledged" && sentMs > sinceMs,
    );
    if (keyed.length === 0) return;
    const { topic, key, deferMs } = this.random.pick(keyed);
    this.publish(topic, deferMs, key, true);
  }

  /** Makes a topic with a channel. @param publishes to it, too */
  makeTopic(name: string, publishes = false): void {
    let topic: Topic | undefined;
    this.request("make a topic", name, () => {
      topic = this.site.broker.registry.topic(name);
    });
    if (topic === undefined) return;
    this.request("make a channel", name, () => topic?.channel(CHANNEL));
    if (!publishes) return;
    this.publish(name);
    this.made.push(name);
  }

  private makeChannel(name: string): void {
    this.request("make a channel", name, () => {
      const channel = `extra-${this.ledger.next++}#ephemeral`;
      const topic = this.site.broker.registry.topic(name);
      topic.channel(channel.replace("#ephemeral", ""));
      topic.deleteChannel(channel.replace("#ephemeral", ""));
    });
  }

  /** Deletes one of the topics that were made, and that nobody publishes to any more. */
  private deleteTopic(): void {
    const name = this.made.find((one) => one.startsWith("doomed"));
    if (name === undefined) return;
    this.request("delete a topic", name, () => {
      this.site.broker.registry.deleteTopic(name);
      this.ledger.deleted.add(name);
      this.made.splice(this.made.indexOf(name), 1);
    });
  }

  private request(request: Request, topic: string, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.ledger.refuse([request], topic, error);
    }
  }

  private subscribe(): void {
    for (const topic of this.site.broker.registry.topics.values()) {
      let channel = topic.channels.get(CHANNEL);
      if (channel === undefined) {
        this.request("make a channel", topic.name, () => {
          channel = topic.channel(CHANNEL);
        });
      }
      if (channel === undefined || this.consumers.has(channel)) continue;
      this.consumers.set(channel, this.site.subscribeTo(channel, READY).consumer);
    }
  }

  /** Answers for what came. @param share how many are finished, of 1; the others are requeued */
  private answer(share: number): void {
    const { ledger, random, site } = this;
    for (const [channel, consumer] of this.consumers) {
      for (const { part, sequence, body } of consumer.deliveries.splice(0)) {
        const sent = ledger.arrived(body);
        if (!random.chance(share)) {
          part.requeue(consumer, sequence, random.pick([0, 400, 1500]));
          if (sent !== undefined) sent.requeued = true;
        } else if (part.finish(consumer, sequence) !== undefined && !channel.deleted) ledger.violate(`${body} is not in flight`);
        else if (sent !== undefined) sent.finishedMs ??= site.clock.wallMs();
      }
    }
  }
}
