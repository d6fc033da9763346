import { encodedJson } from "../../http/server/reply.ts";

/** So much is laid out before others get their turn: about a millisecond's work. */
const SLICE_CHARACTERS = 128 * 1024;

/**
 * Answers with a JSON document that may be large: a registry of hundreds of brokers with thousands of topics is a
 * hundred megabytes as /debug shows it. What fits in a slice goes out at once; a longer one goes out in slices, others
 * being served in between, and in memory there is never more than one.
 *
 * @param pieces of the document, in order; each is to be made when it is asked for, from what is so then
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
