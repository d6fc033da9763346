/** Reads one value of JSON. @throws BadValue if it is not what it should be */
export type Check<T> = (value: unknown, where: string) => T;

/** A value in etcd is not what its key should have. */
export class BadValue extends Error {
  override name = "BadValue";
}

/** Fields that this release does not know. They stay with the value when it is written again, for a newer one. */
export interface Extensible {
  readonly unknown?: Readonly<Record<string, unknown>>;
}

/** A JSON object with fields that are each checked when it is read. */
export class Shape<T extends Extensible> {
  private readonly checks: ReadonlyMap<string, Check<unknown>>;

  /** @param verify looks at what the fields say together; it returns what is wrong, if anything is */
  constructor(
    fields: { readonly [Name in Exclude<keyof T, "unknown">]-?: Check<T[Name]> },
    private readonly verify: (value: T) => string | undefined = () => undefined,
  ) {
    this.checks = new Map(Object.entries<Check<unknown>>(fields));
  }

  /** As a check of a field that is an object. */
  readonly check: Check<T> = (value, where) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw new BadValue(`${where} is not an object`);
    const given = value as Record<string, unknown>;
    const read: Record<string, unknown> = {};
    for (const [name, check] of this.checks) read[name] = check(given[name], where === "" ? name : `${where}.${name}`);
    const unknown = Object.entries(given).filter(([name]) => !this.checks.has(name) && name !== "unknown");
    if (unknown.length > 0) read.unknown = Object.fromEntries(unknown);
    const whole = read as T;
    const problem = this.verify(whole);
    if (problem !== undefined) throw new BadValue(where === "" ? problem : `${where}: ${problem}`);
    return whole;
  };

  /** @returns a BadValue for a text that does not have this shape */
  read(text: string): T | BadValue {
    try {
      return this.check(JSON.parse(text), "");
    } catch (error) {
      return error instanceof BadValue ? error : new BadValue("it is not JSON");
    }
  }

  write(value: T): string {
    return JSON.stringify(value, flattenUnknown);
  }
}

/** Puts unknown fields back to where they were, at any depth. */
function flattenUnknown(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value) || !("unknown" in value)) return value;
  const { unknown, ...known } = value;
  return { ...(unknown as object), ...known };
}

/** A text of limited length. It may be empty if `least` is 0. */
export function text(most: number, least = 1): Check<string> {
  return (value, where) => {
    if (typeof value !== "string" || value.length < least || value.length > most)
      throw new BadValue(`${where} is not a text of ${least} to ${most} characters`);
    return value;
  };
}

export function matching(pattern: RegExp, what: string): Check<string> {
  return (value, where) => {
    if (typeof value !== "string" || !pattern.test(value)) throw new BadValue(`${where} is not ${what}`);
    return value;
  };
}

/** A whole number in [low, high], both included. */
export function whole(low: number, high = Number.MAX_SAFE_INTEGER): Check<number> {
  return (value, where) => {
    if (!Number.isInteger(value) || (value as number) < low || (value as number) > high)
      throw new BadValue(`${where} is not a whole number from ${low} to ${high}`);
    return value as number;
  };
}

/** Any number that is not negative. */
export const amount: Check<number> = (value, where) => {
  if (typeof value !== "number" || !(value >= 0) || value === Number.POSITIVE_INFINITY)
    throw new BadValue(`${where} is not a number from 0`);
  return value;
};

export const flag: Check<boolean> = (value, where) => {
  if (typeof value !== "boolean") throw new BadValue(`${where} is neither true nor false`);
  return value;
};

export function oneOf<const T extends string>(...words: readonly T[]): Check<T> {
  return (value, where) => {
    const word = words.find((word) => word === value);
    if (word === undefined) throw new BadValue(`${where} is not one of ${words.join(", ")}`);
    return word;
  };
}

/** A list without doubles. */
export function setOf<T extends string | number>(check: Check<T>, most: number, least = 0): Check<readonly T[]> {
  return (value, where) => {
    if (!Array.isArray(value) || value.length < least || value.length > most)
      throw new BadValue(`${where} is not a list of ${least} to ${most}`);
    const list = value.map((one, i) => check(one, `${where}[${i}]`));
    if (new Set(list).size < list.length) throw new BadValue(`${where} has something twice`);
    return list;
  };
}

/** A field that may be missing, as it was added later. */
export function optional<T>(check: Check<T>, otherwise: T): Check<T> {
  return (value, where) => (value === undefined ? otherwise : check(value, where));
}
