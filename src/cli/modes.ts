import type { BrokerOptions } from "../broker/options.ts";
import type { LookupOptions } from "../lookup/options.ts";
import type { ProgramName } from "../version.ts";
import { brokerFlags } from "./broker-flags.ts";
import type { ChoiceFlag, Flag } from "./flag.ts";
import { allFlags, type FlagTable, withPrefix } from "./flags.ts";
import { lookupFlags } from "./lookup-flags.ts";
import { LOOKUP_PREFIX, type Scope } from "./settings.ts";

/** The programs that one binary can run. */
export const MODES = ["all", "broker", "lookup"] as const;
export type Mode = (typeof MODES)[number];

/** The mode that the program's name or first word selected; undefined if -mode decides. */
export interface Picked {
  mode: Mode | undefined;
}

/** NSQ's other programs. A link with such a name must not become a broker. */
const PROGRAMS_TO_COME: readonly string[] = ["nsqadmin", "nsq_pubsub"];

/** The error for a program that does not exist yet; undefined for other words. */
export function missingProgram(word: string): string | undefined {
  const name = word === "admin" ? "nsqadmin" : word;
  return PROGRAMS_TO_COME.includes(name) ? `this version of bunsq has no ${word} yet; use NSQ's ${name} with it` : undefined;
}

/** The flags of all modes. */
export function everyModesFlags(): Flag[] {
  return [...allFlags(allProgramFlags({ mode: undefined })), ...allFlags(lookupProgramFlags({ mode: undefined }))];
}

/**
 * The flags that config files and the environment may set. A lookup flag of another mode without its prefix is left out if the
 * flag with the prefix is known: there it is a mistake.
 */
export function programScope<Options>(table: FlagTable<Options>, { name, isLookup }: { name: ProgramName; isLookup: boolean }): Scope {
  const flags = allFlags(table);
  const here = new Set(flags.map((flag) => flag.name));
  const elsewhere = everyModesFlags().filter((flag) => !here.has(flag.name) && !here.has(LOOKUP_PREFIX + flag.name));
  return { flags, elsewhere, isLookup, isStandIn: name !== "bunsq" };
}

/** The flags of a program that runs a broker and a lookup server: the broker's, and the lookup's with a prefix. */
export function allProgramFlags(program: Picked): FlagTable<BrokerOptions> {
  const broker = brokerFlags();
  return withMode<BrokerOptions>({ options: broker.options, others: [...broker.others, ...allFlags(lookupFlagsBeside())] }, program);
}

/** The lookup's flags with the names that they have beside a broker. */
export function lookupFlagsBeside(): FlagTable<LookupOptions> {
  return withPrefix(LOOKUP_PREFIX, lookupFlags());
}

/** The flags of a program that runs a broker. */
export function brokerProgramFlags(program: Picked): FlagTable<BrokerOptions> {
  return withMode(brokerFlags(), program);
}

/** The flags of a program that runs a lookup server. */
export function lookupProgramFlags(program: Picked): FlagTable<LookupOptions> {
  return withMode(lookupFlags(), program);
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
  doc: "what to run: broker, lookup, or all for both in one process; then the lookup's flags begin with -lookup-",
  refusal: (text) => missingProgram(text.toLowerCase()) ?? `must be ${MODES.slice(0, -1).join(", ")} or ${MODES.at(-1)}`,
};

/** A hint which mode has an unknown flag; undefined if it is known here with the lookup's prefix, or nowhere. */
export function otherModeOf(flag: string, here: readonly Flag[]): string | undefined {
  const isIn = (flags: readonly Flag[], name = flag) => flags.some((known) => known.name === name);
  if (isIn(here, LOOKUP_PREFIX + flag)) return undefined;
  const mode = isIn(allFlags(brokerFlags()))
    ? "broker"
    : isIn(allFlags(lookupFlags()))
      ? "lookup"
      : isIn(allFlags(lookupFlagsBeside()))
        ? "all"
        : undefined;
  return mode && `it is a flag of --mode=${mode}`;
}
