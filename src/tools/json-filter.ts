import { encodeJson } from "../base/go/json.ts";
import { logLine } from "./tool.ts";

/** Which messages to pass on, and what of them. */
export interface JsonFilterOptions {
  requireField: string;
  requireValue: string;
  /** The fields to keep; all if there is none here. */
  fields: readonly string[];
}

type JsonObject = Readonly<Record<string, unknown>>;

const NUMBER = /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i;
/** Whole numbers below it are written with all their digits. */
const INT64_LIMIT = 2 ** 63;

/** Filters messages that are JSON objects. */
export class JsonFilter {
  private readonly requireNumber: number | undefined;

  constructor(private readonly options: JsonFilterOptions) {
    this.requireNumber = NUMBER.test(options.requireValue) ? Number(options.requireValue) : undefined;
  }

  /**
   * The body to pass on; undefined for a message to leave out.
   *
   * @throws Error for a message that has not the field whose value is required
   */
  apply(body: Uint8Array): Uint8Array | string | undefined {
    const { requireField, fields } = this.options;
    if (requireField === "" && fields.length === 0) return body;
    const object = parseObject(body);
    if (object === undefined) {
      logLine(`ERROR: Unable to decode json: ${Buffer.from(body).toString()}`, "error");
      return undefined;
    }
    if (requireField !== "" && !this.passes(object, requireField)) return undefined;
    return fields.length === 0 ? body : keep(object, fields);
  }

  private passes(object: JsonObject, field: string): boolean {
    const { requireValue } = this.options;
    if (!Object.hasOwn(object, field)) {
      if (requireValue === "") return false;
      logLine("ERROR: missing field to check required value", "error");
      throw new Error("backoff");
    }
    if (requireValue === "") return true;
    const value = object[field];
    if (typeof value === "string") return value === requireValue;
    return this.requireNumber !== undefined && value === this.requireNumber;
  }
}

/** A number may be too large for a double, which Go does not accept. */
const PERHAPS_TOO_LARGE = /e\+?0*\d{3}|\d{309}/i;

/** @returns undefined for bytes that are no JSON object; null counts as an object without fields */
function parseObject(body: Uint8Array): JsonObject | undefined {
  try {
    const text = Buffer.from(body).toString();
    const value: unknown = JSON.parse(text);
    if (PERHAPS_TOO_LARGE.test(text) && hasInfinity(value)) return undefined;
    if (value === null) return {};
    return typeof value === "object" && !Array.isArray(value) ? (value as JsonObject) : undefined;
  } catch {
    return undefined;
  }
}

function hasInfinity(value: unknown): boolean {
  if (typeof value === "number") return !Number.isFinite(value);
  return typeof value === "object" && value !== null && Object.values(value).some(hasInfinity);
}

function keep(object: JsonObject, fields: readonly string[]): string {
  const kept = [...new Set(fields)].filter((field) => Object.hasOwn(object, field));
  return members(kept.map((field) => [field, isInt64(object[field]) ? BigInt(object[field]).toString() : goJson(object[field])]));
}

/** JSON as Go writes what it has read into a map: names in order, numbers as doubles. */
function goJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(goJson).join(",")}]`;
  if (typeof value === "object" && value !== null) return members(Object.entries(value).map(([name, inner]) => [name, goJson(inner)]));
  if (typeof value === "string") return encodeJson(value.toWellFormed());
  return Object.is(value, -0) ? "-0" : encodeJson(value);
}

function members(entries: readonly [name: string, json: string][]): string {
  const sorted = entries.toSorted(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return `{${sorted.map(([name, json]) => `${encodeJson(name.toWellFormed())}:${json}`).join(",")}}`;
}

function isInt64(value: unknown): value is number {
  return Number.isInteger(value) && Math.abs(value as number) < INT64_LIMIT;
}
