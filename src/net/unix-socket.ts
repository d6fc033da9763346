import { lstatSync, unlinkSync } from "node:fs";
import { lazy } from "../base/lazy.ts";
import type { Logger } from "../base/logger.ts";
import { StartError } from "../base/start-error.ts";

/** The address of a unix socket, in the file system or in Linux's abstract namespace. */
export interface SocketPath {
  /** The form that Bun takes: an abstract name begins with a NUL. */
  unix: string;
}

/** The kernel's sun_path has 108 bytes, including a NUL at the end. */
const MAX_PATH_BYTES = 107;
/** A running server accepts a connection at once, unless its backlog is full. */
const PROBE_TIMEOUT_MS = 1000;

/**
 * Whether an address means a unix socket. As in nsqd, that is any address without a port, with one exception: a host or a
 * port alone is more likely a mistake than the name of a file.
 */
export function isSocketPath(address: string): boolean {
  if (address.includes("/") || address.startsWith("@")) return true;
  return address !== "" && !address.includes(":") && !/^\d+$/.test(address) && lazy.net.isIP(address) === 0 && address !== "localhost";
}

/** Parses the path of a unix socket. @throws StartError for a path that is longer than the kernel allows */
export function parseSocketPath(address: string): SocketPath {
  const unix = address.startsWith("@") ? `\0${address.slice(1)}` : address;
  const bytes = Buffer.byteLength(unix);
  if (bytes > MAX_PATH_BYTES)
    throw new StartError(`the path of a unix socket may have at most ${MAX_PATH_BYTES} bytes; ${address} has ${bytes}`);
  return { unix };
}

/** Formats a path as it was given. */
export function showSocketPath({ unix }: SocketPath): string {
  return unix.startsWith("\0") ? `@${unix.slice(1)}` : unix;
}

/**
 * Removes the file of a unix socket that no process listens on. A process that was killed leaves its file behind, and could
 * not be started again. Any other file is left, and the attempt to listen will report it.
 */
export async function removeDeadSocket({ unix }: SocketPath, logger: Logger): Promise<void> {
  if (unix.startsWith("\0") || lstatSync(unix, { throwIfNoEntry: false })?.isSocket() !== true) return;
  if (!(await isDead(unix))) return;
  unlinkSync(unix);
  logger.warn(`removed ${unix}: no process listens on this socket any more`);
}

function isDead(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = lazy.net.connect({ path });
    const finish = (dead: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(dead);
    };
    const timer = setTimeout(() => finish(false), PROBE_TIMEOUT_MS);
    socket.on("connect", () => finish(false));
    socket.on("error", (error: NodeJS.ErrnoException) => finish(error.code === "ECONNREFUSED"));
  });
}
