import type { ProgramName } from "../version.ts";
import type { Flag } from "./flag.ts";
import { allFlags, type FlagTable, flagHelp, helpText } from "./flags.ts";

/** What is said above the flags. */
const SETTINGS = `A setting comes from its flag, else from the environment (BUNSQ_MAX_MSG_SIZE for -max-msg-size), else from the config file
that -config or BUNSQ_CONFIG names (max_msg_size).
`;

/** The groups of flags, in the order of the help text. A flag is in the first group that its name fits. */
const GROUPS: readonly [title: string, names: RegExp][] = [
  ["What to run", /^(mode|config|console|version)$/],
  ["Addresses and HTTP", /^(tcp|http(?!-client)|https|broadcast|debug)\b/],
  ["Lookup and auth servers", /^(lookupd|auth|http-client)-/],
  ["Cluster", /^(etcd|cluster|replication|min-in-sync|balance-hours)/],
  [
    "Data on disk",
    /^(data-path|ignore-nsqd|durability|min-free|mem-queue|max-bytes-per-file|retention|idempotency|sync|start-without)|^node-id$/,
  ],
  ["Messages and consumers", /^(max-)?(msg|req|body)-|^max-(rdy|channel)|^(enable-experiment|topology)/],
  ["Connections", /^(max|min)-(http-)?(connections|heartbeat|output)|^output-buffer/],
  ["TLS and compression", /^(tls|hsts|deflate|max-deflate|snappy)/],
  ["Statistics and log", /^(statsd|e2e|log|metrics|trace|otlp)-/],
  ["Stopping", /^drain-/],
  ["The lookup server itself", /^(lookup|inactive-producer|tombstone)-/],
  ["The console itself", /^(admin|acl|allow-config|audit-log|base-path|graphite|nsqd|notification|proxy-graphite)\b/],
];
const WITHOUT_EFFECT = "Accepted, without effect";
const OTHERS = "Others";

/** The text of a server's --help: its flags in groups. Under the names of NSQ's programs it is as theirs is. */
export function helpPage<Options>(name: ProgramName, table: FlagTable<Options>): string {
  if (name !== "bunsq") return helpText(name, table);
  const groups = new Map<string, Flag[]>([...GROUPS.map(([title]) => title), OTHERS, WITHOUT_EFFECT].map((title) => [title, []]));
  for (const flag of allFlags(table)) groups.get(groupOf(flag))?.push(flag);
  const sections = [...groups]
    .filter(([, flags]) => flags.length > 0)
    .map(([title, flags]) => `\n${title}:\n${flags.map(flagHelp).join("")}`);
  return SETTINGS + sections.join("");
}

/** The title of a flag's group. */
export function groupOf(flag: Flag): string {
  if (flag.idle !== undefined) return WITHOUT_EFFECT;
  return GROUPS.find(([, names]) => names.test(flag.name))?.[0] ?? OTHERS;
}
