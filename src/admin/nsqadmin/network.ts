import { lazy } from "../../base/lazy.ts";
import { StartError } from "../../base/start-error.ts";

/** Parses --allow-config-from-cidr. @returns undefined: any address is in it. @throws StartError */
export function parseNetwork(flag: string, cidr: string): ((address: string) => boolean) | undefined {
  if (cidr === "") return undefined;
  const [address = "", prefix = "", ...rest] = cidr.split("/");
  const family = lazy.net.isIP(address);
  const bits = family === 4 ? 32 : 128;
  if (family === 0 || rest.length > 0 || !/^\d{1,3}$/.test(prefix) || Number(prefix) > bits) {
    throw new StartError(`failed to parse --${flag} (${cidr}) - invalid CIDR address: ${cidr}`);
  }
  const network = new lazy.net.BlockList();
  const type = family === 4 ? "ipv4" : "ipv6";
  network.addSubnet(address, Number(prefix), type);
  return (client) => lazy.net.isIP(client) === family && network.check(client, type);
}
