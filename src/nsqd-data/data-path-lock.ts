import { closeSync, constants, openSync, readFileSync } from "node:fs";

/** Arguments of flock(2), the same on Linux and macOS. */
const LOCK_EX = 2;
const LOCK_NB = 4;
/** EWOULDBLOCK, the errno of a lock that is held: on Linux, and on macOS. */
const WOULD_BLOCK = process.platform === "linux" ? 11 : 35;

/** Path of the C library in /proc/self/maps: glibc's, or musl's, which is also the loader. */
const LOADED_LIBC = /\s(\/\S*\/(?:libc\.so\.6|libc-2\S*\.so|ld-musl-\S+\.so\.1))$/m;

/** Why a data path was not locked: another process holds the lock (IN_USE), or the system has no such lock (UNSUPPORTED). */
export class DataPathLockError extends Error {
  override name = "DataPathLockError";

  constructor(
    readonly code: "IN_USE" | "UNSUPPORTED",
    message: string,
  ) {
    super(message);
  }
}

/** The lock of a data path. It is held until release() or the end of the process, even by kill -9. */
export class DataPathLock {
  constructor(private fd: number) {}

  /** Releases the lock. Further calls do nothing. */
  release(): void {
    if (this.fd < 0) return;
    // Children do not inherit the descriptor, so that closing it here releases the lock.
    closeSync(this.fd);
    this.fd = -1;
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/**
 * Takes the lock that nsqd holds on its data path while it runs (internal/dirlock): an exclusive flock(2) on the folder
 * itself, without waiting. While it is held here, nsqd refuses to start: "cannot flock directory … (possibly in use by
 * another instance of nsqd)". The lock does not block reads and writes.
 *
 * @returns an error with the code IN_USE if another process, or another call in this one, holds the lock; UNSUPPORTED if the
 *   system or the file system has no such lock (NFS, for nsqd too), and then the caller decides whether to go on
 * @throws the kernel's error if the folder cannot be opened
 */
export function lockDataPath(folder: string): DataPathLock | DataPathLockError {
  const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  let errno: number | undefined;
  let failure = "";
  try {
    errno = flock(fd, LOCK_EX | LOCK_NB);
  } catch (error) {
    failure = String(error);
  }
  if (errno === 0) return new DataPathLock(fd);
  closeSync(fd);
  if (errno === WOULD_BLOCK)
    return new DataPathLockError("IN_USE", `${folder} is in use by another process, probably an nsqd: stop it first`);
  return new DataPathLockError("UNSUPPORTED", `${folder} cannot be locked against nsqd: ${failure || `flock says errno ${errno}`}`);
}

/**
 * Calls flock(2) through bun:ffi, because node:fs does not have it.
 *
 * @returns 0, or errno
 * @throws if bun:ffi or the C library is not available
 */
function flock(fd: number, operation: number): number {
  // Loaded on demand: few processes lock a data path.
  const { dlopen, FFIType, read } = require("bun:ffi") as typeof import("bun:ffi");
  const errnoFunction = process.platform === "darwin" ? "__error" : "__errno_location";
  const library = dlopen(libcPath(), {
    flock: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 },
    [errnoFunction]: { args: [], returns: FFIType.ptr },
  });
  try {
    if (library.symbols.flock(fd, operation) === 0) return 0;
    const at = library.symbols[errnoFunction]();
    return at === null ? -1 : read.i32(at, 0);
  } finally {
    library.close();
  }
}

/** The absolute path: Bun looks for a bare name in the working directory, too. */
function libcPath(): string {
  if (process.platform === "darwin") return "/usr/lib/libSystem.B.dylib";
  const path = LOADED_LIBC.exec(readFileSync("/proc/self/maps", "latin1"))?.[1];
  if (path === undefined) throw new Error("no C library found in /proc/self/maps");
  return path;
}
