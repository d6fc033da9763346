import type { BrokerOptions } from "../../options.ts";

/**
 * The text in front of every key: -statsd-prefix with the broker's address in place of %s, its dots and colons made
 * underscores, and a dot at its end.
 *
 * @param httpPort listened on; 0 for none
 */
export function statsdPrefix({ statsdPrefix: prefix, broadcastAddress, broadcastHttpPort }: BrokerOptions, httpPort: number): string {
  if (prefix === "") return "";
  // As Go's net.JoinHostPort.
  const host = broadcastAddress.includes(":") ? `[${broadcastAddress}]` : broadcastAddress;
  const key = `${host}:${broadcastHttpPort || httpPort}`.replace(/[.:]/g, "_");
  const text = prefix.replaceAll("%s", () => key);
  return text.endsWith(".") ? text : `${text}.`;
}
