/** The C library under its names on Linux with glibc, on Linux with musl, and on macOS. */
const LIBRARIES = ["libc.so.6", "libc.so", "libSystem.B.dylib"];
const POLL = { poll: { args: ["ptr", "u64", "int"], returns: "int" } } as const;
const POLLERR = 0x08;
const POLLHUP = 0x10;

/**
 * Returns a function that says whether the reader of a pipe has gone, which neither Bun nor Node tells before something is written;
 * undefined if the C library cannot be asked.
 *
 * @param fd the end of the pipe that is written to
 */
export function readerWatch(fd: number): (() => boolean) | undefined {
  // A static import would be loaded in every process of the program, also in a broker's.
  const { dlopen } = require("bun:ffi") as typeof import("bun:ffi");
  for (const library of LIBRARIES) {
    try {
      const { symbols } = dlopen(library, POLL);
      // struct pollfd: the descriptor, then the events that are asked for and those that there are, 16 bits each.
      const request = new DataView(new ArrayBuffer(8));
      request.setInt32(0, fd, true);
      const bytes = new Uint8Array(request.buffer);
      return () => symbols.poll(bytes, 1, 0) > 0 && (request.getInt16(6, true) & (POLLERR | POLLHUP)) !== 0;
    } catch {
      // It has another name here.
    }
  }
  return undefined;
}
