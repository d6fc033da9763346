import { fieldsOf, listOf, textOf, textsOf } from "../upstream/fields.ts";
import { httpAddress, producerOf } from "../upstream/producer.ts";
import { WatchedServer } from "./watched-server.ts";

/** What a lookup is believed, whatever it answers. */
const MOST_NODES = 10_000;
const MOST_TOPICS = 100_000;

/** A lookup server, as of its last answer. */
export class WatchedLookup extends WatchedServer {
  /** The brokers that it lists by their HTTP addresses, and of each the topics for which it is tombstoned. */
  nodes: ReadonlyMap<string, readonly string[]> = new Map();
  topics: ReadonlySet<string> = new Set();

  /** @param info what /info says */
  foldInfo(info: unknown): void {
    const fields = fieldsOf(info);
    const ours = textOf(fields, "bunsq_version");
    this.product = ours === "" ? "nsq" : "bunsq";
    this.version = ours === "" ? textOf(fields, "version") : ours;
  }

  /**
   * @param nodes what /nodes says
   * @param topics what /topics says
   */
  fold(nodes: unknown, topics: unknown): void {
    this.nodes = new Map(listOf(fieldsOf(nodes), "producers").slice(0, MOST_NODES).map(nodeOf));
    this.topics = new Set(textsOf(fieldsOf(topics), "topics").slice(0, MOST_TOPICS));
    this.succeed();
  }
}

function nodeOf(item: unknown): [address: string, tombstoned: string[]] {
  const producer = producerOf(fieldsOf(item));
  return [httpAddress(producer), producer.topics.filter(({ tombstoned }) => tombstoned).map(({ topic }) => topic)];
}
