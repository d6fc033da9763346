import { lstatSync, unlinkSync } from "node:fs";
import { lazy } from "../base/lazy.ts";
import type { Logger } from "../base/logger.ts";
import { StartError } from "../base/start-error.ts";

/** A socket in the file system, or in Linux's abstract name space. */
export interface SocketPath {
  /** As Bun takes it: abstract names begin with a NUL. */
  unix: string;
}

/** What the kernel has room for (sun_path), with the NUL behind it. */
const MAX_PATH_BYTES = 107;
/** A server that lives takes a connection at once, unless its backlog is full. */
const PROBE_TIMEOUT_MS = 1000;

/**
 * Whether an address means a unix socket: as in nsqd, whatever has no port. What would be a host or a port alone is
 * taken for a slip all the same, and not for a file's name.
 */
export function isSocketPath(address: string): boolean {
  if (address.includes("/") || address.startsWith("@")) return true;
  return address !== "" && !address.includes(":") && !/^\d+$/.test(address) && lazy.net.isIP(address) === 0 && address !== "localhost";
}

/** @throws StartError for one that no kernel takes */
export function parseSocketPath(address: string): SocketPath {
  const unix = address.startsWith("@") ? `\0${address.slice(1)}` : address;
  const bytes = Buffer.byteLength(unix);
  if (bytes > MAX_PATH_BYTES)
    throw new StartError(`the path of a unix socket has at most ${MAX_PATH_BYTES} bytes, and ${address} has ${bytes}`);
  return { unix };
}

/** As it was given. */
export function showSocketPath({ unix }: SocketPath): string {
  return unix.startsWith("\0") ? `@${unix.slice(1)}` : unix;
}

/**
 * Removes the file of a unix socket on which nobody listens: a process that was killed leaves its own behind, and could
 * not be started again. Anything else stays, and listening there will say so.
 */
export async function removeDeadSocket({ unix }: SocketPath, logger: Logger): Promise<void> {
  if (unix.startsWith("\0") || lstatSync(unix, { throwIfNoEntry: false })?.isSocket() !== true) return;
  if (!(await isDead(unix))) return;
  unlinkSync(unix);
  logger.warn(`removed ${unix}: the socket of a process that is no more`);
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
