import { BROKER_FLAGS, type BrokerFlags, findBrokers } from "../command/brokers.ts";
import { command, EXIT_FAILED, EXIT_OK } from "../command/command.ts";
import { type Counts, countsJson, readCounts } from "../command/stats.ts";
import { type Column, tableLines } from "../command/text-table.ts";
import { checkName, jsonFlag, TOPIC } from "../command/words.ts";

interface TopicsFlags extends BrokerFlags {
  json: boolean;
}

const COLUMNS: readonly Column<Counts>[] = [
  { title: "TOPIC", text: ({ topic }) => topic },
  { title: "CHANNEL", text: ({ channel }) => channel ?? "" },
  { title: "DEPTH", isNumber: true, text: ({ depth }) => String(depth) },
  { title: "IN FLIGHT", isNumber: true, text: ({ channel, inFlight }) => (channel === undefined ? "" : String(inFlight)) },
  { title: "DEFERRED", isNumber: true, text: ({ channel, deferred }) => (channel === undefined ? "" : String(deferred)) },
  { title: "MESSAGES", isNumber: true, text: ({ messages }) => String(messages) },
  { title: "CONSUMERS", isNumber: true, text: ({ channel, consumers }) => (channel === undefined ? "" : String(consumers)) },
  { title: "STATE", text: stateOf },
];

function stateOf({ isPaused, partitions, order }: Counts): string {
  const parts = [isPaused ? "paused" : "", partitions > 1 ? `${partitions} partitions` : "", order === "none" ? "" : `ordered by ${order}`];
  return parts.filter((part) => part !== "").join(", ");
}

/** `bunsq topics` */
export const topicsCommand = command<TopicsFlags>({
  name: "topics",
  summary: "List topics and channels with what they have",
  about: `DEPTH counts messages that wait; for a topic, those that no channel has got. MESSAGES counts those that have come since the
broker started. Several brokers are added up.`,
  words: [{ ...TOPIC, isOptional: true }],
  table: { options: { ...BROKER_FLAGS, json: jsonFlag }, others: [] },
  run: async (call) => {
    const { terminal, options, words } = call;
    const topic = words[0] === undefined ? undefined : checkName("topic", words[0]);
    const counts = await readCounts(await findBrokers(call), topic);
    if (options.json) await terminal.printJson(counts.map(countsJson));
    else if (counts.length === 0) terminal.warn(topic === undefined ? "there are no topics" : `there is no topic ${topic}`);
    else {
      const [titles = "", ...lines] = tableLines(COLUMNS, counts);
      await terminal.print(`${[terminal.style("bold", titles), ...lines].join("\n")}\n`);
    }
    return topic !== undefined && counts.length === 0 ? EXIT_FAILED : EXIT_OK;
  },
});
