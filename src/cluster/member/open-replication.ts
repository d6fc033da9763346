import { BlockList, isIP } from "node:net";
import { networkInterfaces } from "node:os";
import type { Logger } from "../../base/logger.ts";
import { parseAddress } from "../../net/address.ts";

const EVERY_ADDRESS = new Set(["0.0.0.0", "::"]);

/** Loopback, link-local, and what private networks use. */
const PRIVATE = new BlockList();
for (const [network, bits] of [
  ["127.0.0.0", 8],
  ["10.0.0.0", 8],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  ["169.254.0.0", 16],
  ["100.64.0.0", 10],
] as const)
  PRIVATE.addSubnet(network, bits, "ipv4");
PRIVATE.addAddress("::1", "ipv6");
PRIVATE.addSubnet("fc00::", 7, "ipv6");
PRIVATE.addSubnet("fe80::", 10, "ipv6");

/**
 * The addresses of a listener that are not those of a private network.
 *
 * @param hostname to listen on; a name counts as private, since nobody knows yet what it resolves to
 * @param own those of this machine
 */
export function publicAddresses(hostname: string, own = ownAddresses()): string[] {
  const listened = EVERY_ADDRESS.has(hostname) ? own : [hostname];
  return listened.filter((address) => isIP(address) !== 0 && !PRIVATE.check(address, isIP(address) === 4 ? "ipv4" : "ipv6"));
}

/** Says that everybody who reaches this broker may take part, if that may be anybody. @param listens without TLS @throws StartError */
export function warnOfOpen(listens: string, logger: Logger): void {
  const [address] = publicAddresses(parseAddress(listens).hostname);
  if (address === undefined) return;
  logger.warn(
    `CLUSTER: -replication-address ${listens} is open to whoever reaches ${address}, without TLS: they can read and publish as a broker does; give -replication-tls-cert, -key and -ca, or a private address`,
  );
}

function ownAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map(({ address }) => address));
}
