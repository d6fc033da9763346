import { networkInterfaces } from "node:os";
import { StartError } from "../base/start-error.ts";
import { isSocketPath, parseSocketPath, type SocketPath, showSocketPath } from "./unix-socket.ts";

const MAX_PORT = 65_535;
/** `host:port`, the host in brackets if it has colons itself. */
const ADDRESS = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/;
/** What Go listens on under these hosts is every address of the machine, of both families. */
const EVERY_ADDRESS = new Set(["", "0.0.0.0", "::"]);
/** How an IPv4 client looks to a socket that listens on both families. */
const MAPPED_IPV4 = "::ffff:";

/** Where to listen. */
export interface Address {
  /** A name or an address without brackets; `::` for every address of both families. */
  hostname: string;
  /** 0: one that the system chooses. */
  port: number;
}

/** Where a broker listens. */
export type ListenAddress = Address | SocketPath;

/** Reads the address of a listener that may be a unix socket's path. @throws StartError */
export function parseListenAddress(text: string): ListenAddress {
  return isSocketPath(text) ? parseSocketPath(text) : parseAddress(text);
}

/** A listener's address with the port that it has got. */
export function showListenAddress(address: ListenAddress, port: number): string {
  return "unix" in address ? showSocketPath(address) : formatAddress(address.hostname, port);
}

/**
 * Reads the address of a listener as Go does (https://pkg.go.dev/net#Listen): `127.0.0.1:4150`, `[::1]:4150`,
 * `host:4150`, and `:4150` or `0.0.0.0:4150` for every address, of IPv6 too where the machine has it.
 *
 * @throws StartError for anything else
 */
export function parseAddress(text: string): Address {
  const match = ADDRESS.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > MAX_PORT) {
    throw new StartError(`invalid address "${text}": give it as host:port, for instance 127.0.0.1:4150 or 0.0.0.0:4150`);
  }
  const hostname = match[1] ?? match[2];
  if (EVERY_ADDRESS.has(hostname)) return { hostname: hasIpv6() ? "::" : "0.0.0.0", port };
  // The name may stand for both families, and a listener has but one: Go takes IPv4.
  return { hostname: hostname === "localhost" ? "127.0.0.1" : hostname, port };
}

/**
 * Reads the address of a server to connect to. A host that stands for every address of a machine stands for this one.
 *
 * @throws StartError for what is no `host:port`
 */
export function parseRemoteAddress(text: string): Address {
  const { hostname, port } = parseAddress(text);
  return { hostname: EVERY_ADDRESS.has(hostname) ? "127.0.0.1" : hostname, port };
}

/** `host:port` as Go prints it: IPv6 in brackets, an IPv4 client of a listener of both families as what it is. */
export function formatAddress(hostname: string, port: number): string {
  if (!hostname.includes(":")) return `${hostname}:${port}`;
  return hostname.startsWith(MAPPED_IPV4) ? `${hostname.slice(MAPPED_IPV4.length)}:${port}` : `[${hostname}]:${port}`;
}

/**
 * Why a listener could not be opened, and what to do.
 *
 * @param flag that its address was given with, for instance `http-address`
 * @param error what Bun.listen() or Bun.serve() threw
 */
export function listenError(flag: string, address: ListenAddress, error: unknown): StartError {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if ("unix" in address) return socketError(flag, showSocketPath(address), code, error);
  const where = formatAddress(address.hostname, address.port);
  switch (code) {
    case "EADDRINUSE":
      return new StartError(
        `cannot listen on ${where}: another program does, perhaps another instance; stop it or choose another -${flag}`,
      );
    case "EADDRNOTAVAIL":
      return new StartError(
        `cannot listen on ${where}: this machine has no such address; choose another -${flag}, or 0.0.0.0 for every address`,
      );
    case "EACCES":
      return new StartError(`cannot listen on ${where}: not allowed to this user; choose a port above 1023 with -${flag}`);
    default:
      return new StartError(`cannot listen on ${where}: ${error instanceof Error ? error.message : String(error)}; see -${flag}`);
  }
}

function socketError(flag: string, path: string, code: unknown, error: unknown): StartError {
  switch (code) {
    case "EADDRINUSE":
      return new StartError(
        `cannot listen on ${path}: another program does, or it is a file of another kind; stop it, remove it, or choose another -${flag}`,
      );
    case "ENOENT":
      return new StartError(`cannot listen on ${path}: its folder does not exist; make it, or choose another -${flag}`);
    case "EACCES":
      return new StartError(`cannot listen on ${path}: its folder is closed to this user; open it, or choose another -${flag}`);
    default:
      return new StartError(`cannot listen on ${path}: ${error instanceof Error ? error.message : String(error)}; see -${flag}`);
  }
}

/** A machine with IPv6 has it on its loopback at least. */
function hasIpv6(): boolean {
  return Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ family }) => family === "IPv6"));
}
