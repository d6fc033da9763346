import { adminFlags } from "../admin-flags.ts";
import { brokerFlags } from "../broker-flags.ts";
import type { Command } from "../command/command.ts";
import { allFlags, type FlagTable, helpText } from "../flags.ts";
import { helpPage } from "../help.ts";
import { lookupFlags } from "../lookup-flags.ts";
import { adminProgramFlags, allProgramFlags, brokerProgramFlags, lookupProgramFlags, type Mode } from "../modes.ts";
import { type Program, runProgram } from "../servers.ts";

/** A server as a command: its first word selects it. */
function server<Options>(name: string, summary: string, program: Omit<Program, "args">, table: FlagTable<Options>): Command {
  const isStandIn = program.name !== "bunsq";
  return {
    name,
    summary,
    usage: "[flags]",
    flags: allFlags(table),
    words: [],
    subcommands: [],
    help: (path) => `usage: ${path} [flags]\n\n${summary}.\n\n${isStandIn ? helpText(program.name, table) : helpPage(program.name, table)}`,
    run: (_, args, __, environment) => runProgram({ ...program, args: [...args] }, environment),
  };
}

const asBunsq = (mode: Mode) => ({ name: "bunsq", mode }) as const;

/** The servers. */
export const SERVERS: readonly Command[] = [
  server(
    "all",
    "Run a broker, a lookup server and the console in one process, as without a command",
    asBunsq("all"),
    allProgramFlags(asBunsq("all")),
  ),
  server("broker", "Run a broker alone", asBunsq("broker"), brokerProgramFlags(asBunsq("broker"))),
  server("lookup", "Run a lookup server alone", asBunsq("lookup"), lookupProgramFlags(asBunsq("lookup"))),
  server("admin", "Run the console alone", asBunsq("admin"), adminProgramFlags(asBunsq("admin"))),
  server("nsqd", "Run a broker with the flags and exit codes of nsqd", { name: "nsqd", mode: "broker" }, brokerFlags()),
  server(
    "nsqlookupd",
    "Run a lookup server with the flags and exit codes of nsqlookupd",
    { name: "nsqlookupd", mode: "lookup" },
    lookupFlags(),
  ),
  server("nsqadmin", "Run the console with the flags and exit codes of nsqadmin", { name: "nsqadmin", mode: "admin" }, adminFlags()),
];
