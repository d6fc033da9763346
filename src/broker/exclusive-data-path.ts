import { statSync } from "node:fs";
import type { Logger } from "../base/logger.ts";
import { StartError } from "../base/start-error.ts";
import { DataPathLockError, lockDataPath } from "../nsqd-data/data-path-lock.ts";

/** A mistyped path must not become a new, empty queue. @throws StartError */
export function checkDataPath(path: string): void {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw new StartError(`--data-path ${path} does not exist; make it, or name another`);
  if (!stat.isDirectory()) throw new StartError(`--data-path ${path} is not a directory; name one`);
}

/**
 * Keeps nsqd and other programs of bunsq off a data path, with the lock that nsqd takes on it. The metadata store's own lock keeps
 * off older brokers, which did not take this one.
 *
 * @returns releases the lock
 * @throws StartError if another process has it
 */
export function lockExclusively(path: string, logger: Logger): () => void {
  let lock: ReturnType<typeof lockDataPath>;
  try {
    lock = lockDataPath(path);
  } catch (error) {
    throw new StartError(`cannot open ${path}: ${(error as Error).message}`);
  }
  if (!(lock instanceof DataPathLockError)) return () => lock.release();
  if (lock.code === "IN_USE") {
    throw new StartError(
      `${path} is in use by another process, a bunsq or an nsqd; stop that one, or give this one a --data-path of its own`,
    );
  }
  logger.warn(`${lock.message}; make sure that no nsqd uses it`);
  return () => {};
}
