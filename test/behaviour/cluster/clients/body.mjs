import { crc32 } from "node:zlib";

const FILLER = "the quick brown fox jumps over the lazy dog ".repeat(8);
const SHORTEST = 60;
const LONGEST = 300;

/** A line of ASCII: its number, a text of a length of its own, and the checksum (crc32, hex) of both. @param {number} number */
export function bodyOf(number) {
  const covered = `${number} ${FILLER.slice(0, SHORTEST + ((number * 7) % (LONGEST - SHORTEST)))} `;
  return covered + crc32(covered).toString(16).padStart(8, "0");
}

/** @param {string} body @returns {number | undefined} the body's number; undefined: it is none of bodyOf() */
export function numberOf(body) {
  const covered = body.slice(0, -8);
  return crc32(covered).toString(16).padStart(8, "0") === body.slice(-8) ? Number.parseInt(covered, 10) : undefined;
}
