import { ClientError } from "../client/bun.ts";
import { versionLine } from "../version.ts";
import { type Environment, EXIT_FAILED, EXIT_OK } from "./command/command.ts";
import { explainFailure } from "./command/failure.ts";
import { type CommandSection, textCommand } from "./command/overview.ts";
import { OutputClosed, Terminal } from "./command/terminal.ts";
import { accessCommand } from "./commands/access.ts";
import { benchCommand } from "./commands/bench.ts";
import { channelCommand } from "./commands/channel.ts";
import { clusterCommand } from "./commands/cluster.ts";
import { completionCommand } from "./commands/completion.ts";
import { drainCommand } from "./commands/drain.ts";
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
import { quote, UnknownProgram, UsageError } from "./flags.ts";
import { print, refuseUsage, STDERR } from "./servers.ts";
import { nearest } from "./suggest.ts";

/** All commands of `bunsq`, from which it is dispatched, explained and completed. A server runs by way of selectProgram(). */
const SECTIONS: readonly CommandSection[] = [
  { title: "run a server", commands: SERVERS },
  { title: "publish and receive", commands: [pubCommand, subCommand, benchCommand] },
  { title: "look at a broker", commands: [topicsCommand, topCommand, peekCommand] },
  { title: "change a broker or cluster", commands: [topicCommand, channelCommand, messageCommand, drainCommand, clusterCommand] },
  { title: "data of a stopped broker", commands: [checkCommand, importCommand, exportCommand] },
  { title: "NSQ's tools", commands: NSQ_TOOLS },
  {
    title: "bunsq itself",
    commands: [
      accessCommand,
      helpCommand(() => SECTIONS),
      completionCommand(() => SECTIONS),
      textCommand({ name: "version", summary: "Print the version", usage: "", words: [] }, () => `${versionLine("bunsq")}\n`),
    ],
  },
];

/** The names of all commands. */
export const COMMAND_NAMES: readonly string[] = SECTIONS.flatMap(({ commands }) => commands.map(({ name }) => name));

/** A command is taken for a misspelled one if at most one of this many letters is wrong. */
const LETTERS_PER_SLIP = 4;

/**
 * Runs the command that the first word names, unless it is a server, which selectProgram() selects.
 *
 * @returns the exit code, when it has ended
 * @throws UsageError if there is no such command
 */
export async function runCommand(words: readonly string[], environment: Environment): Promise<number> {
  const [word = "", ...rest] = words;
  const command = SECTIONS.flatMap(({ commands }) => commands).find(({ name }) => name === word);
  if (command === undefined) throw unknownCommand(word);
  // A command within a group has its own help.
  const inner = command.subcommands.find(({ name }) => name === rest[0]);
  const name = `bunsq ${command.name}${inner === undefined ? "" : ` ${inner.name}`}`;
  try {
    return await command.run(`bunsq ${command.name}`, rest, new Terminal(environment), environment);
  } catch (error) {
    if (error instanceof OutputClosed) return EXIT_OK;
    if (error instanceof UsageError) return refuseUsage(name, error);
    if (!(error instanceof ClientError)) throw error;
    print(STDERR, `${name}: ${explainFailure(error)}\n`);
    return EXIT_FAILED;
  }
}

function unknownCommand(word: string): UnknownProgram {
  const meant = nearest(word, COMMAND_NAMES, Math.max(1, Math.floor(word.length / LETTERS_PER_SLIP)));
  const hint = meant === undefined ? "" : `did you mean ${meant}?\n`;
  return new UnknownProgram(`unknown command ${quote(word)}\n${hint}see bunsq --help for the commands`);
}
