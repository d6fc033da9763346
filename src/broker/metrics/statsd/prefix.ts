import type { BrokerOptions } from "../../options.ts";

/**
 * The prefix of every key: -statsd-prefix, in which the broker's address replaces %s, with underscores for its dots and colons.
 * It ends with a dot.
 *
 * @param httpPort that the broker listens on; 0 for none
 */
export function statsdPrefix({ statsdPrefix: prefix, broadcastAddress, broadcastHttpPort }: BrokerOptions, httpPort: number): string {
  if (prefix === "") return "";
  // As Go's net.JoinHostPort.
  const host = broadcastAddress.includes(":") ? `[${broadcastAddress}]` : broadcastAddress;
  const key = `${host}:${broadcastHttpPort || httpPort}`.replace(/[.:]/g, "_");
  const text = prefix.replaceAll("%s", () => key);
  return text.endsWith(".") ? text : `${text}.`;
}
