import { encodedJson } from "../../http/server/reply.ts";

/** A slice of this length takes about a millisecond to encode. */
const SLICE_CHARACTERS = 128 * 1024;

/**
 * Answers with a JSON document that may be large: with hundreds of brokers that have thousands of topics, /debug has a hundred
 * megabytes. A document that fits into a slice is sent at once. A longer one is sent in slices, between which other requests
 * are served, and only one slice is in memory at a time.
 *
 * @param pieces the pieces of the document, in order; each is generated on demand, from the state at that time
 */
export function longJson(pieces: Iterator<string>): Response {
  const first = nextSlice(pieces);
  return encodedJson(first.length < SLICE_CHARACTERS ? first : slices(first, pieces));
}

async function* slices(first: string, pieces: Iterator<string>): AsyncGenerator<string> {
  for (let slice = first; slice !== ""; slice = nextSlice(pieces)) {
    yield slice;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function nextSlice(pieces: Iterator<string>): string {
  const slice: string[] = [];
  let characters = 0;
  while (characters < SLICE_CHARACTERS) {
    const { value, done } = pieces.next();
    if (done === true) break;
    slice.push(value);
    characters += value.length;
  }
  return slice.join("");
}
