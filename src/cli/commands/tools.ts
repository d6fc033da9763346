import { TOOLS } from "../../tools/tools.ts";
import type { Command } from "../command/command.ts";

/** What each of NSQ's tools does, in a line. */
const SUMMARIES: Readonly<Record<string, string>> = {
  nsq_stat: "Print depth, rates and counters of a channel every few seconds",
  nsq_tail: "Print the messages of topics as they come",
  nsq_to_file: "Write the messages of topics to files",
  nsq_to_http: "Send the messages of topics to HTTP servers",
  nsq_to_nsq: "Publish the messages of topics to other brokers",
  to_nsq: "Publish standard input, a message for each line",
};

/** NSQ's tools. They read their own flags, which are loaded with a tool. */
export const NSQ_TOOLS: readonly Command[] = Object.entries(TOOLS).map(([name, run]) => ({
  name,
  summary: SUMMARIES[name] ?? "One of NSQ's tools",
  usage: "[flags]",
  flags: [],
  words: [],
  subcommands: [],
  help: (path) => `usage: ${path} [flags]\n\n${SUMMARIES[name]}.\n\nThe flags are those of NSQ's ${name}. ${path} -h lists them.\n`,
  run: (_, args) => run(args),
}));
