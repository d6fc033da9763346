import type { Flag } from "./flag.ts";
import { quote } from "./flags.ts";
import { emptyLayer, type Layer, Names, prefixOf, type Scope } from "./settings.ts";
import { BadValue, readText } from "./values.ts";

/** The prefix of the environment variables that set flags. */
const PREFIX = "BUNSQ_";

/** Variables for commands that connect to a broker. For a server they mean nothing. */
const CLIENT_VARIABLES: readonly string[] = [
  "BUNSQ_BROKER",
  "BUNSQ_LOOKUP",
  "BUNSQ_AUTH_SECRET",
  "BUNSQ_CLIENT_TLS",
  "BUNSQ_CLIENT_TLS_ROOT_CA_FILE",
  "BUNSQ_CLIENT_TLS_CERT",
  "BUNSQ_CLIENT_TLS_KEY",
  "BUNSQ_CLIENT_TLS_INSECURE",
];

/** A variable is taken for a misspelled setting if at most one of this many letters is wrong. */
const LETTERS_PER_SLIP = 3;
const MOST_SLIPS = 3;

/** Variables that Kubernetes sets in every container for a service that is called bunsq or bunsq-…. Docker's links are similar. */
const SERVICE_LINK = /^(?:\w+_)?(?:SERVICE_(?:HOST|PORT(?:_\w+)?)|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)$/;
const SERVICE_PORT = /^(?:\w+_)?PORT$/;
const SERVICE_URL = /^(?:tcp|udp|sctp):\/\//;

/** The variable that sets a flag: `BUNSQ_MAX_MSG_SIZE` for -max-msg-size. */
export function environmentName(flag: Pick<Flag, "name">): string {
  return PREFIX + flag.name.replaceAll("-", "_").toUpperCase();
}

/**
 * Reads the variables that set flags. Values are written as on the command line, lists with commas. An empty variable counts
 * as not set, because `${NAME:-}` in a compose file produces one.
 */
export function readEnvironment(scope: Scope, environment: Readonly<Record<string, string | undefined>>): Layer {
  const layer = emptyLayer();
  const names = new Names(scope, "environment", (flag) => environmentName(flag).slice(PREFIX.length));
  const variables = Object.entries(environment).filter(([name, text]) => name.startsWith(PREFIX) && text !== undefined && text !== "");
  const ownPrefix = scope.alone === undefined ? undefined : environmentName({ name: prefixOf(scope.alone) }).slice(PREFIX.length);
  const known: [string, Flag, string][] = [];
  for (const [variable, text = ""] of variables.sort()) {
    const name = variable.slice(PREFIX.length);
    const isOwn = ownPrefix !== undefined && name.startsWith(ownPrefix);
    const flag = names.find(name) ?? (isOwn ? names.find(name.slice(ownPrefix.length)) : undefined);
    if (flag !== undefined) known.push([variable, flag, text]);
    else if (names.isElsewhere(name)) layer.warnings.push(`${variable} has no effect in this mode`);
    else if (!isForeign(name, text)) refuseOrWarn(layer, names, name);
  }
  // Longer names come last and win, so that a server's own variables override those that it shares with a broker.
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

/** Reports an unknown variable: as an error if it looks like a misspelled setting, else as a warning, because it may be another program's. */
function refuseOrWarn(layer: Layer, names: Names, name: string): void {
  const meant = names.nearest(name, Math.min(MOST_SLIPS, Math.floor(name.length / LETTERS_PER_SLIP)));
  if (meant === undefined) layer.warnings.push(`${PREFIX}${name} has no effect: no flag has this name`);
  else layer.errors.push(`unknown environment variable ${PREFIX}${name}\ndid you mean ${PREFIX}${meant}?`);
}

/** Whether a variable belongs to another program. @param name without the prefix */
function isForeign(name: string, text: string): boolean {
  // Container images often store their release in it.
  if (name === "VERSION" || CLIENT_VARIABLES.includes(PREFIX + name)) return true;
  return SERVICE_LINK.test(name) || (SERVICE_PORT.test(name) && SERVICE_URL.test(text));
}
