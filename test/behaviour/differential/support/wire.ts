import { sized } from "../../../support/raw-client.ts";

/** A size word, which may say anything. */
export function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value | 0);
  return bytes;
}

/** Joins texts (Latin-1) and bytes. */
export function join(...parts: (string | Uint8Array)[]): Buffer {
  return Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part, "latin1") : part)));
}

/** A command line and its sized body. */
export function withBody(line: string, body: string | Uint8Array): Buffer {
  return join(`${line}\n`, sized(body));
}

/** What follows an MPUB's body size: count, then each message sized. */
export function batch(...bodies: (string | Uint8Array)[]): Buffer {
  return join(int32(bodies.length), ...bodies.map(sized));
}

/** A body of `length` bytes. */
export function filled(length: number): string {
  return "x".repeat(length);
}
