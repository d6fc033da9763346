import { describe, test } from "bun:test";

/** Where a program is said to be, for those that need not be on PATH. */
const VARIABLES: Record<string, string> = { nsqd: "NSQD_BIN", nsqlookupd: "NSQLOOKUPD_BIN" };

/** A reason may be all that a program has said. */
const MAX_REASON = 80;

/** Where a program is, if this machine has it. */
export function findProgram(name: string): string | undefined {
  return process.env[VARIABLES[name] ?? ""] || (Bun.which(name) ?? undefined);
}

/** Why tests that need these programs cannot run here: the first that is not there. Undefined if they can. */
export function missing(...programs: string[]): string | undefined {
  const name = programs.find((program) => findProgram(program) === undefined);
  return name === undefined ? undefined : `no ${name}`;
}

/** `describe`, or one that skips its tests and says why in their names. The end of `npm test` counts them by that reason. */
export function describeUnless(reason: string | undefined): typeof describe {
  return reason === undefined ? describe : withReason(describe.skipIf(true) as typeof describe, reason);
}

/** `test`, or one that is skipped and says why, as describeUnless() does. */
export function testUnless(reason: string | undefined): typeof test {
  return reason === undefined ? test : withReason(test.skipIf(true) as typeof test, reason);
}

function withReason<Declare extends typeof describe | typeof test>(skip: Declare, reason: string): Declare {
  // In a name, % would be a place for a value, and ] ends the reason.
  const suffix = ` [skipped: ${reason.slice(0, MAX_REASON).replace(/\s+/g, " ").replaceAll("%", "").replaceAll("]", ")").trim()}]`;
  return new Proxy(skip, {
    apply: (target, self, [name, ...rest]: unknown[]) => Reflect.apply(target, self, [`${name}${suffix}`, ...rest]),
    get: (target, key) => {
      const value: unknown = Reflect.get(target, key);
      if (key !== "each" || typeof value !== "function") return value;
      return (table: readonly unknown[]) => withReason<Declare>(Reflect.apply(value, target, [table]), reason);
    },
  });
}
