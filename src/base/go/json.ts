/** Go's encoding/json escapes these in strings, so that JSON can be embedded in HTML and in JavaScript. */
const ESCAPED_BY_GO = /[<>&\u2028\u2029]/g;

/** The fields that are read from a document, with their defaults. A default also gives the type of its field. */
export type Fields = Record<string, string | number | boolean>;

/** The fields that were read. An integer beyond 53 bits is a bigint. */
export type FieldValues<Known extends Fields> = {
  [Name in keyof Known]: Known[Name] extends string ? string : Known[Name] extends boolean ? boolean : number | bigint;
};

/** A parsed JSON value, in which numbers keep their text. */
export type Json = null | string | boolean | Literal | Json[] | { [key: string]: Json };

/** A number as it was written, because Go accepts `1000` as an integer, but not `1000.0` or `1e3`. */
class Literal {
  constructor(readonly source: string) {}
}

/** A reviver of an engine that passes the text of each number to it (TC39: JSON.parse source text access). */
type Reviver = (key: string, value: unknown, context: { source?: string }) => unknown;
const keepLiterals: Reviver = (_key, value, { source }) => (typeof value === "number" ? new Literal(source ?? String(value)) : value);
const parseJson = JSON.parse as (text: string, reviver: Reviver) => unknown;

/** @returns undefined if the text is not JSON */
export function parseDocument(text: string): Json | undefined {
  try {
    return parseJson(text, keepLiterals) as Json;
  } catch {
    return undefined;
  }
}

/**
 * Reads a JSON object as Go's encoding/json reads it into a struct: unknown keys are ignored, keys match in any case,
 * null leaves the default, a value of another type is an error, and numbers are 64-bit integers.
 *
 * @param defaults the known fields; their names are in lower case
 * @param int32 the fields that are 32-bit integers
 * @returns undefined for a document that Go would refuse
 */
export function readFields<Known extends Fields>(
  text: string,
  defaults: Known,
  int32: readonly (keyof Known)[] = [],
): FieldValues<Known> | undefined {
  const document = parseDocument(text);
  return document === undefined ? undefined : fieldsOf(document, defaults, int32);
}

/** Reads fields from a document that has been parsed, or from a part of one. See readFields(). */
export function fieldsOf<Known extends Fields>(
  document: Json,
  defaults: Known,
  int32: readonly (keyof Known)[] = [],
): FieldValues<Known> | undefined {
  const values: Record<string, unknown> = { ...defaults };
  if (document !== null) {
    if (typeof document !== "object" || Array.isArray(document) || document instanceof Literal) return undefined;
    for (const [given, value] of Object.entries(document)) {
      const key = Object.hasOwn(defaults, given) ? given : given.toLowerCase();
      if (!Object.hasOwn(defaults, key) || value === null) continue;
      const read = readValue(value, typeof defaults[key], int32.includes(key) ? 32 : 64);
      if (read === undefined) return undefined;
      values[key] = read;
    }
  }
  return values as FieldValues<Known>;
}

/** What an object has under a name, which matches in any case. @returns undefined if it has nothing there, or is no object */
export function memberOf(document: Json, name: string): Json | undefined {
  if (document === null || typeof document !== "object" || Array.isArray(document) || document instanceof Literal) return undefined;
  let member: Json | undefined;
  for (const [given, value] of Object.entries(document)) if (given.toLowerCase() === name) member = value;
  return member;
}

/**
 * The list that an object has under a name, which matches in any case; an empty list if the object has null or nothing there.
 *
 * @returns undefined for another kind of value
 */
export function listOf(document: Json, name: string): Json[] | undefined {
  if (document === null) return [];
  if (typeof document !== "object" || Array.isArray(document) || document instanceof Literal) return undefined;
  const list = memberOf(document, name) ?? null;
  if (list === null) return [];
  return Array.isArray(list) ? list : undefined;
}

function readValue(value: unknown, type: string, bits: number): unknown {
  if (value instanceof Literal) return type === "number" ? parseInteger(value.source, bits) : undefined;
  // A lone surrogate becomes a replacement character, as it does in Go.
  return typeof value !== type ? undefined : typeof value === "string" ? value.toWellFormed() : value;
}

/** @returns undefined for text that is no integer of at most `bits` bits; a bigint where a double would not be exact */
function parseInteger(source: string, bits: number): number | bigint | undefined {
  if (!/^-?\d+$/.test(source)) return undefined;
  const value = BigInt(source);
  if (BigInt.asIntN(bits, value) !== value) return undefined;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number + 0 : value;
}

/** JSON as Go's encoding/json writes it. */
export function encodeJson(value: unknown): string {
  return JSON.stringify(value).replace(ESCAPED_BY_GO, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
