import { BROKER_FLAGS, type BrokerFlags, findBrokers } from "../command/brokers.ts";
import { command, EXIT_FAILED, EXIT_OK } from "../command/command.ts";
import { type Column, tableLines } from "../command/text-table.ts";
import { CHANNEL, checkName, jsonFlag, TOPIC } from "../command/words.ts";

interface PartitionsFlags extends BrokerFlags {
  json: boolean;
}

/** A partition at a broker, of a topic or of a channel. */
interface Partition {
  broker: string;
  partition: number;
  depth: number;
  in_flight: number;
  blocked: number;
  messages: number;
  /** Null for a channel. */
  log_bytes: number | null;
}

type Fields = Readonly<Record<string, unknown>>;

const COLUMNS: readonly Column<Partition>[] = [
  { title: "PARTITION", isNumber: true, text: ({ partition }) => String(partition) },
  { title: "BROKER", text: ({ broker }) => broker },
  { title: "DEPTH", isNumber: true, text: ({ depth }) => String(depth) },
  { title: "IN FLIGHT", isNumber: true, text: ({ in_flight }) => String(in_flight) },
  { title: "BLOCKED", isNumber: true, text: ({ blocked }) => String(blocked) },
  { title: "MESSAGES", isNumber: true, text: ({ messages }) => String(messages) },
  { title: "LOG", isNumber: true, text: ({ log_bytes }) => (log_bytes === null ? "" : String(log_bytes)) },
];

/** `bunsq topic partitions` */
export const partitionsCommand = command<PartitionsFlags>({
  name: "partitions",
  summary: "list the partitions of a topic, or of a channel",
  about: `DEPTH counts messages that wait; for a topic, those in its channels, too. BLOCKED of them wait for others of their key or partition.
LOG is bytes on the disk. Partitions that no broker has are named.`,
  words: [TOPIC, { ...CHANNEL, isOptional: true }],
  table: { options: { ...BROKER_FLAGS, json: jsonFlag }, others: [] },
  run: async (call) => {
    const { terminal, options, words } = call;
    const topic = checkName("topic", words[0]);
    const channel = words[1] === undefined ? undefined : checkName("channel", words[1]);
    const found: Partition[] = [];
    let count = 0;
    for (const { address, client } of await findBrokers(call, topic)) {
      const [stats] = objectsIn(await client.stats({ topic, ...(channel === undefined ? {} : { channel }) }), "topics");
      if (stats === undefined) continue;
      count = Math.max(count, 1, numberIn(stats, "partition_num"));
      // A topic with one is its partition.
      const partitions = objectsIn(stats, "partitions");
      found.push(...(partitions.length > 0 ? partitions : [stats]).map((one) => partitionOf(address, one, channel)));
    }
    found.sort((a, b) => a.partition - b.partition);
    const missing = Array.from({ length: count }, (_, index) => index).filter((index) =>
      found.every(({ partition }) => partition !== index),
    );
    if (options.json) await terminal.printJson({ partition_num: count, missing, partitions: found });
    else if (count > 0) {
      const [titles = "", ...lines] = tableLines(COLUMNS, found);
      await terminal.print(`${[terminal.style("bold", titles), ...lines].join("\n")}\n`);
    }
    if (count === 0) terminal.warn(`there is no ${channel === undefined ? `topic ${topic}` : `channel ${channel} of ${topic}`}`);
    else if (missing.length > 0) terminal.warn(`no broker has ${missing.length} of ${count} partitions: ${missing.join(", ")}`);
    return count === 0 || missing.length > 0 ? EXIT_FAILED : EXIT_OK;
  },
});

function partitionOf(broker: string, stats: Fields, channel: string | undefined): Partition {
  const channels = objectsIn(stats, "channels").filter(({ channel_name: name }) => channel === undefined || name === channel);
  const sum = (name: string) => channels.reduce((total, one) => total + numberIn(one, name), 0);
  const isTopic = channel === undefined;
  return {
    broker,
    partition: numberIn(stats, "partition"),
    depth: sum("depth") + (isTopic ? numberIn(stats, "depth") : 0),
    in_flight: sum("in_flight_count"),
    blocked: sum("blocked_count"),
    messages: isTopic ? numberIn(stats, "message_count") : sum("message_count"),
    log_bytes: isTopic && typeof stats.log_bytes === "number" ? stats.log_bytes : null,
  };
}

function objectsIn(fields: Fields, name: string): Fields[] {
  const list = fields[name];
  return Array.isArray(list) ? list.filter((one) => typeof one === "object" && one !== null) : [];
}

function numberIn(fields: Fields, name: string): number {
  const value = fields[name];
  return typeof value === "number" ? value : 0;
}
