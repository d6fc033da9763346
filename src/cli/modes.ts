import type { AdminOptions } from "../admin/options.ts";
import type { BrokerOptions } from "../broker/options.ts";
import type { LookupOptions } from "../lookup/options.ts";
import type { ProgramName } from "../version.ts";
import { adminFlags, consoleFlag } from "./admin-flags.ts";
import { brokerFlags } from "./broker-flags.ts";
import type { ChoiceFlag, Flag } from "./flag.ts";
import { allFlags, type FlagTable, withPrefix } from "./flags.ts";
import { lookupFlags } from "./lookup-flags.ts";
import { COMPANIONS, type Companion, prefixOf, type Scope } from "./settings.ts";

/** The programs that one binary can run. */
export const MODES = ["all", "broker", "lookup", "admin"] as const;
export type Mode = (typeof MODES)[number];

/** The mode that the program's name or first word selected; undefined if -mode decides. */
export interface Picked {
  mode: Mode | undefined;
}

/** NSQ's other programs. A link with such a name must not become a broker. */
const PROGRAMS_TO_COME: readonly string[] = ["nsq_pubsub"];

/** The error for a program that does not exist yet; undefined for other words. */
export function missingProgram(word: string): string | undefined {
  return PROGRAMS_TO_COME.includes(word) ? `this version of bunsq has no ${word} yet; use NSQ's ${word} with it` : undefined;
}

/** The flags of all modes. */
export function everyModesFlags(): Flag[] {
  const program = { mode: undefined };
  return [...allFlags(allProgramFlags(program)), ...allFlags(lookupProgramFlags(program)), ...allFlags(adminProgramFlags(program))];
}

/**
 * The flags that config files and the environment may set. A flag of another mode without its prefix is left out if the flag with
 * the prefix is known: there it is a mistake.
 */
export function programScope<Options>(
  table: FlagTable<Options>,
  { name, alone }: { name: ProgramName; alone: Companion | undefined },
): Scope {
  const flags = allFlags(table);
  const here = new Set(flags.map((flag) => flag.name));
  const isHere = (flag: Flag) => here.has(flag.name) || COMPANIONS.some((companion) => here.has(prefixOf(companion) + flag.name));
  return { flags, elsewhere: everyModesFlags().filter((flag) => !isHere(flag)), alone, isStandIn: name !== "bunsq" };
}

/** The flags of a program that runs a broker, a lookup server and the console: the broker's, and the others' with prefixes. */
export function allProgramFlags(program: Picked): FlagTable<BrokerOptions> {
  const broker = brokerFlags();
  const beside = [...allFlags(lookupFlagsBeside()), ...allFlags(adminFlagsBeside()), consoleFlag];
  return withMode<BrokerOptions>({ options: broker.options, others: [...broker.others, ...beside] }, program);
}

/** The lookup's flags with the names that they have beside a broker. */
export function lookupFlagsBeside(): FlagTable<LookupOptions> {
  return withPrefix(prefixOf("lookup"), lookupFlags());
}

/** The console's flags with the names that they have beside a broker. */
export function adminFlagsBeside(): FlagTable<AdminOptions> {
  return withPrefix(prefixOf("admin"), adminFlags());
}

/** The flags of a program that runs a broker. */
export function brokerProgramFlags(program: Picked): FlagTable<BrokerOptions> {
  return withMode(brokerFlags(), program);
}

/** The flags of a program that runs a lookup server. */
export function lookupProgramFlags(program: Picked): FlagTable<LookupOptions> {
  return withMode(lookupFlags(), program);
}

/** The flags of a program that runs the console. */
export function adminProgramFlags(program: Picked): FlagTable<AdminOptions> {
  return withMode(adminFlags(), program);
}

/** Adds -mode if nothing else has selected the mode. */
function withMode<Options>(table: FlagTable<Options>, { mode }: Picked): FlagTable<Options> {
  return mode === undefined ? { options: table.options, others: [...table.others, modeFlag] } : table;
}

export const modeFlag: ChoiceFlag<Mode> = {
  name: "mode",
  kind: "choice",
  own: true,
  values: MODES,
  default: "all",
  doc: "what to run: broker, lookup, admin for the console, or all in one process; then the lookup's flags begin with -lookup-, the console's with -admin-",
  refusal: (text) => missingProgram(text.toLowerCase()) ?? `must be ${MODES.slice(0, -1).join(", ")} or ${MODES.at(-1)}`,
};

/** A hint which mode has an unknown flag; undefined if it is known here with another server's prefix, or nowhere. */
export function otherModeOf(flag: string, here: readonly Flag[]): string | undefined {
  const isIn = (flags: readonly Flag[], name = flag) => flags.some((known) => known.name === name);
  if (COMPANIONS.some((companion) => isIn(here, prefixOf(companion) + flag))) return undefined;
  const tables: [Mode, readonly Flag[]][] = [
    ["broker", allFlags(brokerFlags())],
    ["lookup", allFlags(lookupFlags())],
    ["admin", allFlags(adminFlags())],
    ["all", allFlags(allProgramFlags({ mode: "all" }))],
  ];
  const mode = tables.find(([, flags]) => isIn(flags))?.[0];
  return mode && `it is a flag of --mode=${mode}`;
}
