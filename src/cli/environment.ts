import type { Flag } from "./flag.ts";
import { quote } from "./flags.ts";
import { emptyLayer, type Layer, LOOKUP_PREFIX, Names, type Scope } from "./settings.ts";
import { BadValue, readText } from "./values.ts";

/** In front of the environment variables that set flags. */
const PREFIX = "BUNSQ_";
const LOOKUP = LOOKUP_PREFIX.replace("-", "_").toUpperCase();

/** One letter of so many may be wrong in a variable that is still taken for a setting. */
const LETTERS_PER_SLIP = 3;
const MOST_SLIPS = 3;

/** What Kubernetes tells every container about a service that is called bunsq or bunsq-…; Docker's links are alike. */
const SERVICE_LINK = /^(?:\w+_)?(?:SERVICE_(?:HOST|PORT(?:_\w+)?)|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)$/;
const SERVICE_PORT = /^(?:\w+_)?PORT$/;
const SERVICE_URL = /^(?:tcp|udp|sctp):\/\//;

/** The variable that sets a flag: `BUNSQ_MAX_MSG_SIZE` for -max-msg-size. */
export function environmentName(flag: Pick<Flag, "name">): string {
  return PREFIX + flag.name.replaceAll("-", "_").toUpperCase();
}

/**
 * Reads the variables that set flags; their values are written as on the command line, lists with commas. An empty one
 * sets nothing, since that is what `${NAME:-}` in a compose file leaves behind.
 */
export function readEnvironment(scope: Scope, environment: Readonly<Record<string, string | undefined>>): Layer {
  const layer = emptyLayer();
  const names = new Names(scope, "environment", (flag) => environmentName(flag).slice(PREFIX.length));
  const variables = Object.entries(environment).filter(([name, text]) => name.startsWith(PREFIX) && text !== undefined && text !== "");
  const known: [string, Flag, string][] = [];
  for (const [variable, text = ""] of variables.sort()) {
    const name = variable.slice(PREFIX.length);
    const flag = names.find(name) ?? (scope.isLookup && name.startsWith(LOOKUP) ? names.find(name.slice(LOOKUP.length)) : undefined);
    if (flag !== undefined) known.push([variable, flag, text]);
    else if (names.isElsewhere(name)) layer.warnings.push(`${variable} has no effect in this mode`);
    else if (!isForeign(name, text)) refuseOrWarn(layer, names, name);
  }
  // In this order, so that the lookup's own names are stronger than those that a broker shares.
  known.sort(([a], [b]) => a.length - b.length);
  for (const [name, flag, text] of known) {
    try {
      layer.values.set(flag.name, readText(flag, text));
      layer.origins.set(flag.name, name);
    } catch (error) {
      if (!(error instanceof BadValue)) throw error;
      layer.errors.push(`invalid value ${quote(text)} for ${name}: ${error.message}`);
    }
  }
  return layer;
}

/** Anybody may have variables that begin so; only what looks like a slip of the pen keeps a program from starting. */
function refuseOrWarn(layer: Layer, names: Names, name: string): void {
  const meant = names.nearest(name, Math.min(MOST_SLIPS, Math.floor(name.length / LETTERS_PER_SLIP)));
  if (meant === undefined) layer.warnings.push(`${PREFIX}${name} has no effect: no flag has this name`);
  else layer.errors.push(`unknown environment variable ${PREFIX}${name}\ndid you mean ${PREFIX}${meant}?`);
}

/** Set by others for purposes of their own. @param name without the prefix */
function isForeign(name: string, text: string): boolean {
  // Images often keep in it what release they hold.
  if (name === "VERSION") return true;
  return SERVICE_LINK.test(name) || (SERVICE_PORT.test(name) && SERVICE_URL.test(text));
}
