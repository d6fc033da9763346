import { askCluster, CLUSTER_TABLE, type ClusterFlags, change } from "../command/cluster.ts";
import { type Call, type Command, command, commandGroup, EXIT_FAILED, EXIT_OK, type Word } from "../command/command.ts";
import { checkName, TOPIC, yesFlag } from "../command/words.ts";
import type { BoolFlag } from "../flag.ts";
import { quote, UsageError } from "../flags.ts";
import { recoverCommand } from "./cluster-recover.ts";
import { statusCommand } from "./cluster-status.ts";
import { clusterTopicsCommand } from "./cluster-topics.ts";

const PARTITION: Word = { name: "PARTITION" };
const BROKER: Word = { name: "BROKER" };
const MAX_PARTITIONS = 1024;
const MAX_REPLICAS = 16;
const POLL_MS = 1_000;
/** A removal that was asked for is told by the lookup server soon, or was taken back meanwhile. */
const FIRST_POLL_MS = 50;
const KNOWN_MS = 10_000;

const NAMES =
  "A broker is named by its address, its host, or the first four or more digits of its data path's uid, as bunsq cluster status shows them.";

/** @throws UsageError */
function wholeNumber(word: string | undefined, name: string, least: number, most: number): number {
  const value = /^\d{1,9}$/.test(word ?? "") ? Number(word) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw new UsageError(`invalid ${name} ${quote(word ?? "")}: ${least} to ${most}`);
}

const move = command({
  name: "move",
  summary: "move a replica from one broker to another",
  about: `The new replica copies everything while publishing goes on; then it takes the place of the old one, and leads if that one did. ${NAMES}`,
  words: [TOPIC, PARTITION, { name: "FROM" }, { name: "TO" }],
  table: CLUSTER_TABLE,
  run: (call) => {
    const topic = checkName("topic", call.words[0]);
    const partition = wholeNumber(call.words[1], "PARTITION", 0, MAX_PARTITIONS - 1);
    const [from = "", to = ""] = call.words.slice(2);
    return change(
      call,
      (client) => client.move(topic, partition, from, to),
      `${topic}/${partition} moves from ${from} to ${to}; see bunsq cluster status`,
    );
  },
});

const lead = command({
  name: "lead",
  summary: "let another replica lead a partition",
  about: `It must be in sync. Without BROKER, the first of the replicas leads, as it did when the topic was made. ${NAMES}`,
  words: [TOPIC, PARTITION, { ...BROKER, isOptional: true }],
  table: CLUSTER_TABLE,
  run: (call) => {
    const topic = checkName("topic", call.words[0]);
    const partition = wholeNumber(call.words[1], "PARTITION", 0, MAX_PARTITIONS - 1);
    const to = call.words[2];
    return change(call, (client) => client.lead(topic, partition, to), `${to ?? "the first replica"} is to lead ${topic}/${partition}`);
  },
});

const balance = command({
  name: "balance",
  summary: "spread leaders and replicas evenly now",
  about: `The cluster does that by itself, within --balance-hours of the lookup servers and where brokers differ by more than a fifth; this does it now and
as evenly as can be. Leaders are handed over first, many at once; then replicas move, one after the other, while none is missing.`,
  words: [],
  table: CLUSTER_TABLE,
  run: (call) => change(call, (client) => client.balance(), "leaders and replicas are being balanced; see bunsq cluster status"),
});

interface RemovalFlags extends ClusterFlags {
  cancel: boolean;
  wait: boolean;
}

const cancelFlag: BoolFlag = { name: "cancel", kind: "bool", own: true, default: false, doc: "keep the broker after all" };
const waitFlag: BoolFlag = { name: "wait", kind: "bool", own: true, default: false, doc: "end when everything has been moved" };

const removeNode = command<RemovalFlags>({
  name: "remove-node",
  summary: "move everything from a broker to others, so that it can be taken away",
  about: `The broker may be alive or gone for good. It gets no partitions any more, also when it comes back, until --cancel. Publishing goes on, and
no partition has fewer replicas in sync than before. ${NAMES}`,
  words: [BROKER],
  table: { options: { ...CLUSTER_TABLE.options, cancel: cancelFlag, wait: waitFlag }, others: [] },
  run: async (call) => {
    const node = call.words[0] ?? "";
    if (call.options.cancel) return change(call, (client) => client.keepNode(node), `${node} stays`);
    if (!call.options.wait)
      return change(
        call,
        async (client) => void (await client.removeNode(node)),
        `${node} is being drained; bunsq cluster status shows how far it is`,
      );
    const { uid } = await askCluster(call, (client) => client.removeNode(node));
    return waitUntilDrained(call, node, uid);
  },
});

/** @param uid what the lookup server has taken `node` for */
async function waitUntilDrained(call: Call<RemovalFlags>, node: string, uid: string): Promise<number> {
  const { terminal, options } = call;
  const end = async (isDrained: boolean, text: string): Promise<number> => {
    terminal.progress("");
    if (options.json) await terminal.printJson({ ok: isDrained });
    else await terminal.print(`${text}\n`);
    return isDrained ? EXIT_OK : EXIT_FAILED;
  };
  let wasSeen = false;
  const untilMs = performance.now() + KNOWN_MS;
  while (true) {
    const { brokers } = await askCluster(call, (client) => client.status());
    const own = brokers.find((broker) => broker.uid === uid);
    const removal = own?.removal ?? undefined;
    wasSeen ||= removal !== undefined;
    // A lookup server tells a broker that has nothing and is away only while it is to be removed.
    if (removal?.state === "drained" || (wasSeen && own === undefined)) return end(true, `${node} has nothing left and can be taken away`);
    // One that has just been told of the removal may not tell it yet.
    if (removal === undefined && (wasSeen || performance.now() > untilMs)) return end(false, `the removal of ${node} was taken back`);
    if (removal !== undefined)
      terminal.progress(`${removal.left} of ${removal.partitions} partitions left${removal.problem === "" ? "" : `: ${removal.problem}`}`);
    await Bun.sleep(wasSeen ? POLL_MS : FIRST_POLL_MS);
  }
}

const expand = command<ClusterFlags & { yes: boolean }>({
  name: "expand",
  summary: "give a topic more partitions",
  about: `A topic never gets fewer again. Keys stay in the partitions that they are in, and in order: only messages without a key go to the new ones.`,
  words: [TOPIC, { name: "PARTITIONS" }],
  table: { options: { ...CLUSTER_TABLE.options, yes: yesFlag }, others: [] },
  run: async (call) => {
    const topic = checkName("topic", call.words[0]);
    const count = wholeNumber(call.words[1], "PARTITIONS", 1, MAX_PARTITIONS);
    if (
      !call.options.yes &&
      !(await call.terminal.confirm(`expand topic ${topic} to ${count} partitions, so that it never has fewer again?`))
    ) {
      call.terminal.warn("nothing was done");
      return EXIT_FAILED;
    }
    return change(call, (client) => client.expand(topic, count), `topic ${topic} has ${count} partitions`);
  },
});

const replicas = command({
  name: "replicas",
  summary: "give a topic another number of replicas",
  about: `A topic that wanted a majority of its replicas in sync for a publish still does. New replicas copy while publishing goes on. A topic that one
broker has for itself becomes a topic of the cluster.`,
  words: [TOPIC, { name: "N" }],
  table: CLUSTER_TABLE,
  run: (call) => {
    const topic = checkName("topic", call.words[0]);
    const count = wholeNumber(call.words[1], "N", 1, MAX_REPLICAS);
    return change(
      call,
      (client) => client.setReplicas(topic, count),
      `topic ${topic} gets ${count} replicas; see bunsq cluster topics ${topic}`,
    );
  },
});

const minInSync = command({
  name: "min-in-sync",
  summary: "set how many replicas must have a publish before it is acknowledged",
  about: `0 means a majority of the replicas. With 1, publishes go on while one replica is left, and what it took then is lost with its disk.`,
  words: [TOPIC, { name: "N" }],
  table: CLUSTER_TABLE,
  run: (call) => {
    const topic = checkName("topic", call.words[0]);
    const count = wholeNumber(call.words[1], "N", 0, MAX_REPLICAS);
    const what = count === 0 ? "a majority" : String(count);
    return change(call, (client) => client.setMinInSync(topic, count), `topic ${topic} needs ${what} of its replicas in sync`);
  },
});

/** `bunsq cluster …` */
export const clusterCommand: Command = commandGroup("cluster", "Show a cluster, and move, add and remove replicas", [
  statusCommand,
  clusterTopicsCommand,
  move,
  lead,
  balance,
  removeNode,
  expand,
  replicas,
  minInSync,
  recoverCommand,
]);
