/** A slice ends with the step that reaches one of these. */
const SLICE_LENGTH = 32 * 1024;
const SLICE_STEPS = 256;
const SLICE_MS = 0.7;
/**
 * The first slice is not timed before it has reached this: whether a short answer has a length must not depend on how busy the machine
 * is. It takes about 0.5 ms.
 */
const SHORT_LENGTH = 16 * 1024;

/** What the steps of a long answer write to. */
export interface SliceBuffer<Slice> {
  /** Characters or bytes that wait to be taken. */
  readonly length: number;
  /** Takes what was written since the last call. */
  take(): Slice;
  /** Is called when everything is written. */
  end(): void;
}

/** A buffer for text. */
export class TextSlices implements SliceBuffer<string> {
  private written = "";

  get length(): number {
    return this.written.length;
  }

  take(): string {
    const { written } = this;
    this.written = "";
    return written;
  }

  write(text: string): void {
    this.written += text;
  }

  end(): void {}
}

/**
 * Writes an answer step by step, in slices of less than 2 ms. Between two slices everybody else is served: sockets are read and
 * written, and the tick runs. Only one slice is in memory, and the next is written when the client has taken it.
 *
 * @param steps write to the buffer; each of them takes some µs
 * @param ended is called when no more slices are written, unless the answer is complete at once
 * @returns the whole answer if it fits into one slice
 */
export function inSlices<Slice extends { length: number }>(
  buffer: SliceBuffer<Slice>,
  steps: Iterator<void>,
  ended = () => {},
): Slice | AsyncGenerator<Slice> {
  return writeSlice(buffer, steps, SHORT_LENGTH) ? buffer.take() : slices(buffer, steps, ended);
}

async function* slices<Slice extends { length: number }>(
  buffer: SliceBuffer<Slice>,
  steps: Iterator<void>,
  ended: () => void,
): AsyncGenerator<Slice> {
  try {
    for (let isLast = false; ; isLast = writeSlice(buffer, steps)) {
      const slice = buffer.take();
      if (slice.length > 0) yield slice;
      if (isLast) return;
      // A resolved promise would go on before any socket is looked at.
      await new Promise((resolve) => setImmediate(resolve));
    }
  } finally {
    ended();
  }
}

/**
 * @param untimedLength from here on the clock is looked at
 * @returns whether everything is written
 */
function writeSlice(buffer: SliceBuffer<unknown>, steps: Iterator<void>, untimedLength = 0): boolean {
  const endMs = performance.now() + SLICE_MS;
  for (let step = 0; step < SLICE_STEPS && buffer.length < SLICE_LENGTH; step++) {
    if (buffer.length >= untimedLength && performance.now() >= endMs) return false;
    if (steps.next().done !== true) continue;
    buffer.end();
    return true;
  }
  return false;
}
