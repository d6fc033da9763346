import type { ClusterRecovery } from "../../client/bun.ts";
import { askCluster, CLUSTER_TABLE, type ClusterFlags } from "../command/cluster.ts";
import { command, EXIT_FAILED, EXIT_OK } from "../command/command.ts";
import { type Column, tableLines } from "../command/text-table.ts";
import { checkName, TOPIC } from "../command/words.ts";
import type { BoolFlag, StringFlag } from "../flag.ts";
import { quote, UsageError } from "../flags.ts";

interface RecoverFlags extends ClusterFlags {
  from: string;
  acceptDataLoss: boolean;
}

const fromFlag: StringFlag = { name: "from", kind: "string", own: true, default: "", doc: "the broker whose replica leads then" };
const acceptFlag: BoolFlag = {
  name: "accept-data-loss",
  kind: "bool",
  own: true,
  default: false,
  doc: "acknowledged messages that this replica lacks are lost for good",
};

type Replica = ClusterRecovery["replicas"][number];

const COLUMNS: readonly Column<Replica>[] = [
  { title: "BROKER", text: ({ http, uid }) => http || uid },
  { title: "STATE", text: ({ alive }) => (alive ? "alive" : "away") },
  { title: "IN SYNC", text: (replica) => (replica.in_sync ? "yes" : "no") },
  { title: "EPOCH", isNumber: true, text: ({ has }) => (has === null ? "" : String(has.epoch)) },
  { title: "END", isNumber: true, text: ({ has }) => (has === null ? "" : String(has.end)) },
];

/** `bunsq cluster recover` */
export const recoverCommand = command<RecoverFlags>({
  name: "recover",
  summary: "let a partition go on without the replicas that had everything, when they are lost for good",
  about: `Without --from it shows what the replicas that are alive have: the one of the newest epoch, and of these the one with the highest end, lacks
the least. It is refused while a replica in sync is alive: that one takes over by itself. What only the lost ones had is lost for good, also if
they come back. The lookup server logs it.`,
  words: [TOPIC, { name: "PARTITION" }],
  table: { options: { ...CLUSTER_TABLE.options, from: fromFlag, acceptDataLoss: acceptFlag }, others: [] },
  run: async (call) => {
    const { terminal, options, words } = call;
    const topic = checkName("topic", words[0]);
    const partition = /^\d{1,4}$/.test(words[1] ?? "") ? Number(words[1]) : undefined;
    if (partition === undefined) throw new UsageError(`invalid PARTITION ${quote(words[1] ?? "")}`);
    const { from, acceptDataLoss } = options;
    if (from !== "") {
      await askCluster(call, (client) => client.recover(topic, partition, from, { acceptDataLoss }));
      if (options.json) await terminal.printJson({ ok: true });
      else await terminal.print(`${from} leads ${topic}/${partition} with what it has\n`);
      return EXIT_OK;
    }
    const left = await askCluster(call, (client) => client.recoverable(topic, partition));
    if (options.json) await terminal.printJson(left);
    else {
      const [titles = "", ...lines] = tableLines(COLUMNS, left.replicas);
      await terminal.print(`${[terminal.style("bold", titles), ...lines].join("\n")}\n`);
      terminal.warn(
        left.needed
          ? "start one that is in sync; if all of these are lost, choose one with --from=BROKER --accept-data-loss"
          : "a replica in sync is alive, and leads or takes over: there is nothing to recover",
      );
    }
    return left.needed ? EXIT_FAILED : EXIT_OK;
  },
});
