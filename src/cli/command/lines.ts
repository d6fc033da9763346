const NEWLINE = 10;

/**
 * The lines of a stream of bytes, without their ends, as they come. What is behind the last end is a line too, unless it is empty.
 *
 * @param stop ends it
 */
export async function* splitLines(source: AsyncIterable<Uint8Array>, stop: AbortSignal): AsyncGenerator<Uint8Array, void> {
  const pieces: Uint8Array[] = [];
  const reader = source[Symbol.asyncIterator]();
  const stopped = new Promise<{ done: true; value: undefined }>((resolve) => {
    stop.addEventListener("abort", () => resolve({ done: true, value: undefined }), { once: true });
  });
  while (!stop.aborted) {
    const { done, value: chunk } = await Promise.race([reader.next(), stopped]);
    if (done === true) break;
    let from = 0;
    for (let at = chunk.indexOf(NEWLINE); at !== -1; at = chunk.indexOf(NEWLINE, from)) {
      yield joined(pieces, chunk.subarray(from, at));
      from = at + 1;
    }
    // The reader may use its buffer again.
    if (from < chunk.length) pieces.push(chunk.slice(from));
  }
  const rest = joined(pieces, new Uint8Array());
  if (rest.length > 0 && !stop.aborted) yield rest;
}

/** The pieces with one more behind them, in memory of their own. The list is empty afterwards. */
function joined(pieces: Uint8Array[], last: Uint8Array): Uint8Array {
  const line = Buffer.concat([...pieces, last]);
  pieces.length = 0;
  return line;
}
