import { type Flag, type FlagValue, isSettableIn } from "./flag.ts";
import { nearest } from "./suggest.ts";

/** In front of the names of the lookup's flags, where a broker shares its process. */
export const LOOKUP_PREFIX = "lookup-";

/** A program's flags as config files and the environment set them. */
export interface Scope {
  flags: readonly Flag[];
  /** Flags of bunsq's other modes: setting one is no mistake, since modes may share a file or an environment. */
  elsewhere: readonly Flag[];
  /** It is the lookup server by itself: its settings count under the names, too, that they have beside a broker. */
  isLookup: boolean;
  /** It stands in for a program of NSQ's, which skips what it does not know in a config file. */
  isStandIn: boolean;
}

/** What one place sets. */
export interface Layer {
  /** By flag name. */
  values: Map<string, FlagValue>;
  /** Where each value stands, as an operator would look for it: `BUNSQ_MAX_MSG_SIZE`, `max_msg_size in /etc/nsqd.cfg`. */
  origins: Map<string, string>;
  /** What has no effect. */
  warnings: string[];
  /** What the program does not start with. */
  errors: string[];
}

export function emptyLayer(): Layer {
  return { values: new Map(), origins: new Map(), warnings: [], errors: [] };
}

/** What a command line set. */
export function commandLineLayer(given: ReadonlyMap<string, FlagValue>): Layer {
  return { ...emptyLayer(), values: new Map(given), origins: new Map([...given.keys()].map((name) => [name, `-${name}`])) };
}

/** All layers as one. @param layers the strongest first */
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

/** A program's flags by the names they have in one place. */
export class Names {
  private readonly flags = new Map<string, Flag>();
  private readonly elsewhere = new Set<string>();
  private readonly byFlagName = new Map<string, string>();

  /** @param nameOf a flag's name in that place */
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

  /** The name that was most likely meant by a wrong one. @param most letters that may differ */
  nearest(name: string, most?: number): string | undefined {
    return this.byFlagName.get(name.replaceAll("_", "-")) ?? nearest(name, [...this.flags.keys()], most);
  }
}
