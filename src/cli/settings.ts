import { type Flag, type FlagValue, isSettableIn } from "./flag.ts";
import { nearest } from "./suggest.ts";

/** The servers that may run in a broker's process. A name is also that of the section in a config file. */
export const COMPANIONS = ["lookup", "admin"] as const;
export type Companion = (typeof COMPANIONS)[number];

/** The prefix of a server's flags if a broker runs in the same process. */
export function prefixOf(companion: Companion): string {
  return `${companion}-`;
}

/** The flags of a program that config files and the environment may set. */
export interface Scope {
  flags: readonly Flag[];
  /** Flags of other modes. Setting one is not a mistake, because modes may share a file or an environment. */
  elsewhere: readonly Flag[];
  /** The program is this server alone. Its settings may also have the names that they have beside a broker. */
  alone: Companion | undefined;
  /** The program runs under the name of one of NSQ's, which ignore unknown keys in a config file. */
  isStandIn: boolean;
}

/** The settings from one source. */
export interface Layer {
  /** Values by flag name. */
  values: Map<string, FlagValue>;
  /** Where each value was set, for messages: `BUNSQ_MAX_MSG_SIZE`, `max_msg_size in /etc/nsqd.cfg`. */
  origins: Map<string, string>;
  /** Messages about settings without effect. */
  warnings: string[];
  /** Messages about errors, with which the program does not start. */
  errors: string[];
}

export function emptyLayer(): Layer {
  return { values: new Map(), origins: new Map(), warnings: [], errors: [] };
}

/** The settings of a command line. */
export function commandLineLayer(given: ReadonlyMap<string, FlagValue>): Layer {
  return { ...emptyLayer(), values: new Map(given), origins: new Map([...given.keys()].map((name) => [name, `-${name}`])) };
}

/** Merges layers. @param layers in descending priority */
export function mergeLayers(layers: readonly Layer[]): Layer {
  const merged = emptyLayer();
  for (const layer of layers.toReversed()) {
    for (const [name, value] of layer.values) merged.values.set(name, value);
    for (const [name, origin] of layer.origins) merged.origins.set(name, origin);
  }
  for (const layer of layers) {
    merged.warnings.push(...layer.warnings);
    merged.errors.push(...layer.errors);
  }
  return merged;
}

/** A program's flags by their names in one source of settings. */
export class Names {
  private readonly flags = new Map<string, Flag>();
  private readonly elsewhere = new Set<string>();
  private readonly byFlagName = new Map<string, string>();

  /** @param nameOf returns a flag's name in that source */
  constructor(scope: Scope, place: "config" | "environment", nameOf: (flag: Flag) => string) {
    for (const flag of scope.flags.filter((flag) => isSettableIn(flag, place))) {
      this.flags.set(nameOf(flag), flag);
      this.byFlagName.set(flag.name, nameOf(flag));
    }
    for (const flag of scope.elsewhere.filter((flag) => isSettableIn(flag, place))) this.elsewhere.add(nameOf(flag));
  }

  find(name: string): Flag | undefined {
    return this.flags.get(name);
  }

  isElsewhere(name: string): boolean {
    return this.elsewhere.has(name);
  }

  /** The name that a wrong one probably means. @param most the number of letters that may differ */
  nearest(name: string, most?: number): string | undefined {
    return this.byFlagName.get(name.replaceAll("_", "-")) ?? nearest(name, [...this.flags.keys()], most);
  }
}
