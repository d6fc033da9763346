import { versionLine } from "../version.ts";
import type { Command } from "./command/command.ts";
import { type CommandSection, textCommand } from "./command/overview.ts";
import { benchCommand } from "./commands/bench.ts";
import { channelCommand } from "./commands/channel.ts";
import { completionCommand } from "./commands/completion.ts";
import { helpCommand } from "./commands/help.ts";
import { messageCommand } from "./commands/message.ts";
import { peekCommand } from "./commands/peek.ts";
import { pubCommand } from "./commands/pub.ts";
import { SERVERS } from "./commands/servers.ts";
import { checkCommand, exportCommand, importCommand } from "./commands/stopped-data.ts";
import { subCommand } from "./commands/sub.ts";
import { NSQ_TOOLS } from "./commands/tools.ts";
import { topCommand } from "./commands/top.ts";
import { topicCommand } from "./commands/topic.ts";
import { topicsCommand } from "./commands/topics.ts";

/** All commands of `bunsq`, from which it is dispatched, explained and completed. A server runs by way of selectProgram(). */
const SECTIONS: readonly CommandSection[] = [
  { title: "run a server", commands: SERVERS },
  { title: "publish and receive", commands: [pubCommand, subCommand, benchCommand] },
  { title: "look at a broker", commands: [topicsCommand, topCommand, peekCommand] },
  { title: "change a broker", commands: [topicCommand, channelCommand, messageCommand] },
  { title: "data of a stopped broker", commands: [checkCommand, importCommand, exportCommand] },
  { title: "NSQ's tools", commands: NSQ_TOOLS },
  {
    title: "about bunsq",
    commands: [
      helpCommand(() => SECTIONS),
      completionCommand(() => SECTIONS),
      textCommand({ name: "version", summary: "Print the version", usage: "", words: [] }, () => `${versionLine("bunsq")}\n`),
    ],
  },
];

/** The names of all commands. */
export const COMMAND_NAMES: readonly string[] = SECTIONS.flatMap(({ commands }) => commands.map(({ name }) => name));

/** The command that a word names, unless it is a server. */
export function findCommand(word: string | undefined): Command | undefined {
  return SECTIONS.flatMap(({ commands }) => commands).find((command) => command.name === word && !SERVERS.includes(command));
}
