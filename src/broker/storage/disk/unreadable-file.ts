/**
 * A file or folder that could not be opened, read, measured or listed. That says nothing about what is in it: whoever reads it
 * tries again later, and nothing is skipped, cut off or removed because of it. Only bytes that were read and do not match their
 * checksum are damage.
 */
export class UnreadableFile extends Error {
  override name = "UnreadableFile";
  /** The kernel's code, such as EIO. */
  readonly code: string;

  constructor(
    readonly path: string,
    cause: NodeJS.ErrnoException,
  ) {
    super(`cannot read ${path}: ${cause.message}`, { cause });
    this.code = cause.code ?? "";
  }
}

/** Whether an error is the kernel's, and not one of this program or of SQLite. */
export function isKernelError(error: unknown): error is NodeJS.ErrnoException {
  const { code } = error as NodeJS.ErrnoException;
  return error instanceof Error && typeof code === "string" && /^E(?!RR_)[A-Z0-9]+$/.test(code);
}

/** What a failed read of a file is reported as. Anything but the kernel's error is returned as it is. */
export function unreadable(path: string, error: unknown): unknown {
  return isKernelError(error) && !(error instanceof UnreadableFile) ? new UnreadableFile(path, error) : error;
}

/** Reads a file or folder. @throws UnreadableFile in place of the kernel's error */
export function reading<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw unreadable(path, error);
  }
}
