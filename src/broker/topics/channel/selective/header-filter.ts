import { Regexp } from "../../../../base/regexp.ts";
import { RegexpError } from "../../../../base/regexp-parser.ts";
import { HeaderReader } from "../../../../frame/header.ts";

/** A filter that cannot be used. The message says why. */
export class FilterError extends Error {
  override name = "FilterError";
}

/** A filter as Youzan's clients send it. */
export interface FilterJson {
  /** EXACT, REGEXP, GLOB or SEVERAL. */
  type: number;
  /** It takes what does not fit. */
  inverse?: boolean;
  /** Path of a value in the header, with dots. If the type is SEVERAL, it is `all` or `any`. */
  filter_ext_key: string;
  /** The value, the expression or the pattern. */
  filter_data?: string;
  /** The values that all or any must be equal, if the type is SEVERAL. */
  filter_data_list?: { filter_ext_key: string; filter_data: string }[];
}

const EXACT = 1;
const REGEXP = 2;
const GLOB = 3;
const SEVERAL = 4;

const MAX_TEXT = 1000;
const MAX_CONDITIONS = 100;
/** Every message is matched in the event loop, so an expression of a client must not take long. */
const MAX_INSTRUCTIONS = 250;
/** Longer values fit no expression and no pattern. */
const MAX_MATCHED_CHARACTERS = 1024;
const BACKSLASH = 0x5c;

/** How many bytes are parsed in about the time that one instruction of an expression takes. */
const BYTES_PER_STEP = 16;
/** Bytes of headers that were parsed, for all filters. */
let parsedBytes = 0;

/** Serves all filters: a header is looked at by one at a time. */
const READER = new HeaderReader();

/** One thing that a header must have. */
interface Condition {
  readonly path: readonly string[];
  /** The key as it is, where it has dots. */
  readonly key: string;
  /** A header without these bytes, and without a backslash, does not fit. */
  readonly needle: Buffer;
  fits(value: unknown): boolean;
}

/** Youzan's mark of a message that is a test, beside real ones. */
const ZAN_TEST: Condition = {
  key: "zan_test",
  path: ["zan_test"],
  needle: Buffer.from("zan_test"),
  fits: (value) => value === true || value === "true",
};

/**
 * Takes messages by the JSON text of their headers. Only strings fit: the number 5 is not "5". A message without a header, or with one
 * that is no JSON, fits no filter, and so an inverse one takes it.
 */
export class HeaderFilter {
  /** Takes messages that are not marked as a test. No JSON is this filter. */
  static readonly NO_ZAN_TEST = new HeaderFilter({ type: 0, filter_ext_key: "" }, [ZAN_TEST], true, true);

  private constructor(
    private readonly json: FilterJson,
    private readonly conditions: readonly Condition[],
    private readonly needsAll: boolean,
    private readonly isInverse: boolean,
  ) {}

  /** What all filters have cost, but for a look at the bytes of each header, in steps of some ten nanoseconds. */
  static get work(): number {
    return Regexp.work + parsedBytes / BYTES_PER_STEP;
  }

  /** @throws FilterError */
  static fromJson(json: unknown): HeaderFilter {
    if (typeof json !== "object" || json === null || Array.isArray(json)) throw new FilterError("a filter is a JSON object");
    const { type, inverse = false, filter_ext_key, filter_data, filter_data_list } = json as Partial<FilterJson>;
    if (typeof inverse !== "boolean") throw new FilterError("inverse must be true or false");
    const key = textOf(filter_ext_key, "filter_ext_key");
    if (type === SEVERAL) {
      if (key !== "all" && key !== "any") throw new FilterError("filter_ext_key must be all or any for type 4");
      if (!Array.isArray(filter_data_list) || filter_data_list.length === 0 || filter_data_list.length > MAX_CONDITIONS) {
        throw new FilterError(`filter_data_list must have 1 to ${MAX_CONDITIONS} pairs for type 4`);
      }
      const pairs = filter_data_list.map((pair) => ({
        filter_ext_key: textOf(pair?.filter_ext_key, "filter_ext_key"),
        filter_data: dataOf(pair?.filter_data),
      }));
      const conditions = pairs.map((pair) => exactly(pair.filter_ext_key, pair.filter_data));
      return new HeaderFilter({ type, inverse, filter_ext_key: key, filter_data_list: pairs }, conditions, key === "all", inverse);
    }
    const data = dataOf(filter_data);
    return new HeaderFilter({ type: type ?? 0, inverse, filter_ext_key: key, filter_data: data }, [single(type, key, data)], true, inverse);
  }

  toJson(): FilterJson {
    return this.json;
  }

  /** Whether it takes a message. @param at the message's record in `record` */
  takes(record: Buffer, at: number): boolean {
    return this.fits(record, at) !== this.isInverse;
  }

  private fits(record: Buffer, at: number): boolean {
    const header = READER;
    if (!header.read(record, at)) return false;
    const { textFrom, textTo } = header;
    if (!this.mayFit(record, textFrom, textTo)) return false;
    parsedBytes += textTo - textFrom;
    let parsed: unknown;
    try {
      parsed = JSON.parse(record.toString("utf8", textFrom, textTo));
    } catch {
      return false;
    }
    for (const condition of this.conditions) if (fitsIn(parsed, condition) !== this.needsAll) return !this.needsAll;
    return this.needsAll;
  }

  /** Most headers that do not fit are told apart without being parsed. */
  private mayFit(record: Buffer, from: number, to: number): boolean {
    for (const { needle } of this.conditions) if (mayHave(record, from, to, needle) !== this.needsAll) return !this.needsAll;
    return this.needsAll;
  }
}

function fitsIn(parsed: unknown, { key, path, fits }: Condition): boolean {
  const value = own(parsed, key) ?? path.reduce(own, parsed);
  return value !== undefined && fits(value);
}

function own(from: unknown, name: string): unknown {
  return typeof from === "object" && from !== null && Object.hasOwn(from, name) ? (from as Record<string, unknown>)[name] : undefined;
}

/** Whether a text has some bytes, or a backslash, behind which they could be. */
function mayHave(record: Buffer, from: number, to: number, needle: Buffer): boolean {
  const first = needle[0];
  const { length } = needle;
  for (let at = from; at < to; at++) {
    const byte = record[at];
    if (byte === BACKSLASH) return true;
    if (byte !== first || at + length > to) continue;
    let i = 1;
    while (i < length && record[at + i] === needle[i]) i++;
    if (i === length) return true;
  }
  return false;
}

function single(type: number | undefined, key: string, data: string): Condition {
  if (type === EXACT) return exactly(key, data);
  if (type === REGEXP) return expression(key, data);
  if (type === GLOB) return expression(key, globSource(data));
  throw new FilterError("type must be 1 (exact), 2 (regular expression), 3 (glob) or 4 (several)");
}

function exactly(key: string, data: string): Condition {
  return { key, path: key.split("."), needle: Buffer.from(`"${data}"`), fits: (value) => value === data };
}

function expression(key: string, source: string): Condition {
  const path = key.split(".");
  try {
    const regexp = new Regexp(source, MAX_INSTRUCTIONS);
    return { key, path, needle: Buffer.from(`${path.at(-1)}"`), fits: (value) => isShort(value) && regexp.test(value) };
  } catch (error) {
    if (error instanceof RegexpError) throw new FilterError(`filter_data: ${error.message}`);
    throw error;
  }
}

function isShort(value: unknown): value is string {
  return typeof value === "string" && value.length <= MAX_MATCHED_CHARACTERS;
}

/** The regular expression of a pattern with `*`, `?`, `[…]`, `{one,other}` and `\`. @throws FilterError */
function globSource(glob: string): string {
  let source = "";
  let depth = 0;
  for (let at = 0; at < glob.length; at++) {
    const character = glob[at];
    if (character === "*") source += "[\\s\\S]*";
    else if (character === "?") source += "[\\s\\S]";
    else if (character === "{") {
      depth++;
      source += "(?:";
    } else if (character === "}" && depth > 0) {
      depth--;
      source += ")";
    } else if (character === "}") {
      throw new FilterError("filter_data: a } has no {");
    } else if (character === "," && depth > 0) source += "|";
    else if (character === "[") {
      const end = glob.indexOf("]", at + 2);
      if (end < 0) throw new FilterError("filter_data: a ] is missing");
      const set = glob
        .slice(at + 1, end)
        .replace(/^!/, "^")
        .replace(/[\\[]/g, "\\$&");
      source += `[${set}]`;
      at = end;
    } else if (character === "\\" && at + 1 === glob.length) {
      throw new FilterError("filter_data: a \\ is at the end");
    } else source += literal(character === "\\" ? glob[++at] : character);
  }
  if (depth > 0) throw new FilterError("filter_data: a } is missing");
  return `^(?:${source})$`;
}

function literal(character: string): string {
  return /[0-9A-Za-z_]/.test(character) || character > "\x7f" ? character : `\\${character}`;
}

function textOf(text: unknown, name: string): string {
  if (typeof text !== "string" || text === "" || text.length > MAX_TEXT)
    throw new FilterError(`${name} must have 1 to ${MAX_TEXT} characters`);
  return text;
}

function dataOf(text: unknown): string {
  if (typeof text !== "string" || text.length > MAX_TEXT)
    throw new FilterError(`filter_data must be a text of up to ${MAX_TEXT} characters`);
  return text;
}
