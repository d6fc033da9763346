import { networkInterfaces } from "node:os";
import { StartError } from "../base/start-error.ts";
import { isSocketPath, parseSocketPath, type SocketPath, showSocketPath } from "./unix-socket.ts";

const MAX_PORT = 65_535;
/** `host:port`, with the host in brackets if it contains colons. */
const ADDRESS = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/;
/** For these hosts Go listens on every address of the machine, of both families. */
const EVERY_ADDRESS = new Set(["", "0.0.0.0", "::"]);
/** In front of an IPv4 client's address on a socket that listens on both families. */
const MAPPED_IPV4 = "::ffff:";

/** A host and a port, to listen on or to connect to. */
export interface Address {
  /** A name or an address, without brackets; `::` for every address of both families. */
  hostname: string;
  /** To listen on 0 means on a port that the system chooses. */
  port: number;
}

/** An address that a broker listens on. */
export type ListenAddress = Address | SocketPath;

/** Parses a listener's address, which may be the path of a unix socket. @throws StartError */
export function parseListenAddress(text: string): ListenAddress {
  return isSocketPath(text) ? parseSocketPath(text) : parseAddress(text);
}

/** Formats a listener's address with its actual port. */
export function showListenAddress(address: ListenAddress, port: number): string {
  return "unix" in address ? showSocketPath(address) : formatAddress(address.hostname, port);
}

/**
 * Parses a listener's address as Go does (https://pkg.go.dev/net#Listen): `127.0.0.1:4150`, `[::1]:4150`, `host:4150`, and
 * `:4150` or `0.0.0.0:4150` for every address, including IPv6 if the machine has it.
 *
 * @throws StartError for any other text
 */
export function parseAddress(text: string): Address {
  const match = ADDRESS.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > MAX_PORT) {
    throw new StartError(`invalid address "${text}": give it as host:port, for instance 127.0.0.1:4150 or 0.0.0.0:4150`);
  }
  const hostname = match[1] ?? match[2];
  if (EVERY_ADDRESS.has(hostname)) return { hostname: hasIpv6() ? "::" : "0.0.0.0", port };
  // The name may resolve to both families, but a listener has one. Go takes IPv4.
  return { hostname: hostname === "localhost" ? "127.0.0.1" : hostname, port };
}

/**
 * Parses the address of a server to connect to. A host that means every address of a machine is taken as this machine.
 *
 * @throws StartError for a text that is not `host:port`
 */
export function parseRemoteAddress(text: string): Address {
  const { hostname, port } = parseAddress(text);
  return { hostname: EVERY_ADDRESS.has(hostname) ? "127.0.0.1" : hostname, port };
}

/** A host without the brackets that an IPv6 address may be given in. */
export function withoutBrackets(host: string): string {
  return host.replace(/^\[(.*)\]$/, "$1");
}

/** Formats `host:port` as Go does: IPv6 in brackets, and an IPv4 client of a listener on both families as IPv4. */
export function formatAddress(hostname: string, port: number): string {
  return `${formatHost(hostname)}:${port}`;
}

/** The part of that in front of the port. */
export function formatHost(hostname: string): string {
  if (!hostname.includes(":")) return hostname;
  return hostname.startsWith(MAPPED_IPV4) ? hostname.slice(MAPPED_IPV4.length) : `[${hostname}]`;
}

/**
 * Says why a listener could not be opened, and what to do about it.
 *
 * @param flag the flag that set its address, for instance `http-address`
 * @param error what Bun.listen() or Bun.serve() threw
 */
export function listenError(flag: string, address: ListenAddress, error: unknown): StartError {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if ("unix" in address) return socketError(flag, showSocketPath(address), code, error);
  const where = formatAddress(address.hostname, address.port);
  switch (code) {
    case "EADDRINUSE":
      return new StartError(
        `cannot listen on ${where}: another program uses it, perhaps another instance; stop that program or choose another -${flag}`,
      );
    case "EADDRNOTAVAIL":
      return new StartError(
        `cannot listen on ${where}: this machine has no such address; choose another -${flag}, or 0.0.0.0 for every address`,
      );
    case "EACCES":
      return new StartError(`cannot listen on ${where}: this user may not; choose a port above 1023 with -${flag}`);
    default:
      return new StartError(`cannot listen on ${where}: ${error instanceof Error ? error.message : String(error)}; see -${flag}`);
  }
}

function socketError(flag: string, path: string, code: unknown, error: unknown): StartError {
  switch (code) {
    case "EADDRINUSE":
      return new StartError(
        `cannot listen on ${path}: another program uses it, or it is not a socket; stop that program, remove the file, or choose another -${flag}`,
      );
    case "ENOENT":
      return new StartError(`cannot listen on ${path}: its directory does not exist; create it or choose another -${flag}`);
    case "EACCES":
      return new StartError(
        `cannot listen on ${path}: this user may not write to its directory; change its permissions or choose another -${flag}`,
      );
    default:
      return new StartError(`cannot listen on ${path}: ${error instanceof Error ? error.message : String(error)}; see -${flag}`);
  }
}

/** A machine with IPv6 has an IPv6 address on its loopback interface at least. */
function hasIpv6(): boolean {
  return Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ family }) => family === "IPv6"));
}
