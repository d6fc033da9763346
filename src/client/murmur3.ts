import { murmur3 as hash } from "../frame/murmur3.ts";

const encoder = new TextEncoder();

/** MurmurHash3 of a text's UTF-8, x86, 32 bits. */
export function murmur3(text: string, seed = 0): number {
  const bytes = encoder.encode(text);
  return hash(bytes, 0, bytes.length, seed);
}
