import { encodeJson } from "../../base/go/json.ts";
import type { TextSlices } from "../../http/server/slices.ts";
import type { BrokerFigures } from "../metrics/figures.ts";
import type { ChannelStats, ClientStats, MemoryStats, TopicStats } from "../metrics/stats.ts";
import type { StatsWriter } from "./stats-steps.ts";

/** What /stats tells of the broker as a whole, in front of its topics and behind them. */
export interface StatsFrame {
  readonly head: object;
  readonly memory: MemoryStats | undefined;
  /** Not empty. */
  readonly tail: object;
}

/** The JSON form of /stats. */
export class JsonStats implements StatsWriter {
  /** What is behind the channels of the topic, and behind the clients of the channel, that are being written. */
  private behindChannels = "";
  private behindClients = "";
  /** Whether the list that is being written has items. */
  private hasTopics = false;
  private hasChannels = false;
  private hasClients = false;
  private hasProducers = false;

  constructor(
    private readonly out: TextSlices,
    private readonly frame: StatsFrame,
  ) {
    out.write(`${openObject(frame.head)},"topics":`);
  }

  beginTopic(topic: TopicStats): void {
    const [before, behind] = around("channels", topic);
    this.out.write((this.hasTopics ? "," : "[") + before);
    this.behindChannels = behind;
    this.hasTopics = true;
    this.hasChannels = false;
  }

  beginChannel(channel: ChannelStats): void {
    const [before, behind] = channel.clients === null ? [encodeJson(channel), ""] : around("clients", channel);
    this.out.write((this.hasChannels ? "," : "") + before);
    this.behindClients = behind;
    this.hasChannels = true;
    this.hasClients = false;
  }

  client(client: ClientStats): void {
    this.out.write((this.hasClients ? "," : "") + encodeJson(client));
    this.hasClients = true;
  }

  endChannel(): void {
    this.out.write(this.behindClients);
  }

  endTopic(): void {
    this.out.write(this.behindChannels);
  }

  endTopics(isKnown: boolean): void {
    this.out.write(!isKnown ? "null" : this.hasTopics ? "]" : "[]");
    const { memory } = this.frame;
    if (memory !== undefined) this.out.write(`,"memory":${encodeJson(memory)}`);
    this.out.write(',"producers":');
  }

  producer(client: ClientStats): void {
    this.out.write((this.hasProducers ? "," : "[") + encodeJson(client));
    this.hasProducers = true;
  }

  end(figures: BrokerFigures | undefined): void {
    this.out.write(`${this.hasProducers ? "]" : "null"},${encodeJson({ ...this.frame.tail, ...figures }).slice(1)}`);
  }
}

/** An object without its closing brace. */
function openObject(value: object): string {
  return encodeJson(value).slice(0, -1);
}

/** The JSON of an object in two parts, between which the items of its empty list belong. A key in quotes is nowhere but where it is a key. */
function around(list: string, value: object): [before: string, behind: string] {
  const json = encodeJson(value);
  const at = json.indexOf(`"${list}":[]`) + list.length + '"":['.length;
  return [json.slice(0, at), json.slice(at)];
}
