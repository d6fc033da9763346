/** What a test body says of itself. */
export interface BodyFacts {
  /** The message's own number, unique in a run. */
  number: number;
  /** The publish call it belonged to. */
  batch: number;
  /** Its place in the batch, and how many the batch had. */
  index: number;
  batchSize: number;
}

const FILLER = "the quick brown fox jumps over the lazy dog 0123456789 ".repeat(80);
export const MAX_FILLER_BYTES = FILLER.length - 64;

/**
 * A body of one line of ASCII (so that it passes a text /mpub too) whose every byte is covered by a checksum.
 *
 * @param fillerBytes how much longer than its facts it is
 */
export function encodeBody(facts: BodyFacts, fillerBytes: number): string {
  const start = facts.number % 64;
  const covered = `${facts.number}|${facts.batch}|${facts.index}|${facts.batchSize}|${FILLER.slice(start, start + fillerBytes)}|`;
  return covered + checksum(covered);
}

/** @throws when the body is not exactly what encodeBody made */
export function decodeBody(body: string): BodyFacts {
  const end = body.lastIndexOf("|") + 1;
  if (end === 0 || body.slice(end) !== checksum(body.slice(0, end))) {
    throw new Error(`a corrupt body of ${body.length} characters: ${JSON.stringify(body.slice(0, 80))}`);
  }
  const [number, batch, index, batchSize] = body.split("|", 4).map(Number);
  return { number: number as number, batch: batch as number, index: index as number, batchSize: batchSize as number };
}

function checksum(text: string): string {
  return Bun.hash.crc32(text).toString(16).padStart(8, "0");
}
