import { parseQuery } from "../../http/server/query.ts";
import { Refusal } from "../../http/server/reply.ts";

const DEFAULT_LIMIT = 100;
const MOST_ROWS = 1_000;
/** Longer than any name. */
const MAX_TEXT = 300;

/** The arguments of a view. */
export class ViewQuery {
  private readonly values: ReturnType<typeof parseQuery>;

  /** @param raw the text behind the question mark */
  constructor(raw: string) {
    this.values = parseQuery(raw);
  }

  /** An argument; empty if it is missing. @throws Refusal 400 INVALID_REQUEST, INVALID_ARG_… */
  text(key: string): string {
    if (typeof this.values === "string") throw new Refusal(400, "INVALID_REQUEST");
    const value = this.values.get(key) ?? "";
    if (value.length > MAX_TEXT) throw invalid(key);
    return value;
  }

  get offset(): number {
    return this.integer("offset", 0, Number.MAX_SAFE_INTEGER);
  }

  get limit(): number {
    return this.integer("limit", DEFAULT_LIMIT, MOST_ROWS);
  }

  /** What to sort by, and which way. @param keys what the rows can be sorted by @throws Refusal 400 INVALID_ARG_SORT */
  sort<Key extends string>(keys: ReadonlyMap<Key, unknown>, fallback: Key | `-${Key}`): { key: Key; isDescending: boolean } {
    const given = this.text("sort") || fallback;
    const isDescending = given.startsWith("-");
    const key = (isDescending ? given.slice(1) : given) as Key;
    if (!keys.has(key)) throw invalid("sort");
    return { key, isDescending };
  }

  /** @throws Refusal 400 INVALID_ARG_… */
  oneOf<Value extends string>(key: string, values: readonly Value[], fallback: Value): Value {
    const given = this.text(key) || fallback;
    const found = values.find((value) => value === given);
    if (found === undefined) throw invalid(key);
    return found;
  }

  private integer(key: string, fallback: number, most: number): number {
    const given = this.text(key);
    if (given === "") return fallback;
    if (!/^\d{1,15}$/.test(given) || Number(given) > most) throw invalid(key);
    return Number(given);
  }
}

function invalid(key: string): Refusal {
  return new Refusal(400, `INVALID_ARG_${key.toUpperCase()}`);
}
