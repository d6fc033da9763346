import type { EtcdEntry } from "./etcd.ts";

/** JSON as it came, of which nothing is known yet. */
export type Json = Readonly<Record<string, unknown>>;

/** An answer that is not what etcd's gateway sends. */
class MalformedAnswer extends Error {
  override name = "MalformedAnswer";
}

export function asObject(value: unknown): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new MalformedAnswer("an object is missing in etcd's answer");
  return value as Json;
}

/** An object that the gateway leaves out when all in it is zero. */
export function objectOr(value: unknown): Json {
  return value === undefined || value === null ? {} : asObject(value);
}

/** An array that the gateway leaves out when it is empty. */
export function arrayOr(value: unknown): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new MalformedAnswer("an array is missing in etcd's answer");
  return value;
}

/** A 64-bit number, which is a string in JSON, or left out when it is 0. It must be exact as a number. */
export function integer(value: unknown): number {
  if (value === undefined) return 0;
  const number = Number(value);
  if ((typeof value !== "string" && typeof value !== "number") || !Number.isSafeInteger(number)) {
    throw new MalformedAnswer(`etcd's answer has ${JSON.stringify(value)} for a number`);
  }
  return number;
}

/** The id of a lease has all 64 bits, so it stays text. "" stands for none. */
export function leaseId(value: unknown): string {
  if (value === undefined || value === "0" || value === 0) return "";
  if (typeof value !== "string" || !/^-?\d{1,19}$/.test(value))
    throw new MalformedAnswer(`etcd's answer has ${JSON.stringify(value)} for a lease`);
  return value;
}

export function encodeText(text: string): string {
  return Buffer.from(text).toString("base64");
}

export function decodeText(value: unknown): string {
  if (value === undefined) return "";
  if (typeof value !== "string") throw new MalformedAnswer("a key or value in etcd's answer is not base64");
  return Buffer.from(value, "base64").toString();
}

/** The end of the range of all keys that begin with a prefix, in base64: the prefix with its last byte counted up. */
export function prefixEnd(prefix: string): string {
  const end = Buffer.from(prefix);
  // The bytes of UTF-8 are below 0xff.
  if (end.length > 0) end[end.length - 1]++;
  return end.toString("base64");
}

/** The revision in the header of an answer. No answer is without. */
export function revisionOf(answer: Json): number {
  const revision = integer(objectOr(answer.header).revision);
  if (revision <= 0) throw new MalformedAnswer("the revision is missing in etcd's answer");
  return revision;
}

export function entryOf(value: unknown): EtcdEntry {
  const kv = asObject(value);
  return {
    key: decodeText(kv.key),
    value: decodeText(kv.value),
    createRevision: integer(kv.create_revision),
    modRevision: integer(kv.mod_revision),
    lease: leaseId(kv.lease),
  };
}
