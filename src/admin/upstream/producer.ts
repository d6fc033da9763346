import { formatAddress } from "../../net/address.ts";
import { type Fields, listOf, numberOf, textOf, textsOf } from "./fields.ts";

/** A broker, as lookup servers or it itself describe it. NSQ calls it so because it is where a topic's messages come from. */
export interface Producer {
  /** `lookup's address/broker's address as that lookup sees it`, one per lookup server that lists it. Empty without lookup servers. */
  remoteAddresses: string[];
  remoteAddress: string;
  hostname: string;
  broadcastAddress: string;
  tcpPort: number;
  httpPort: number;
  version: string;
  topics: { topic: string; tombstoned: boolean }[];
  /** Another broker has a newer version. */
  outOfDate: boolean;
}

/** A broker in the answer of a lookup server, or in the broker's own answer to /info. */
export function producerOf(fields: Fields): Producer {
  const tombstones = listOf(fields, "tombstones");
  return {
    remoteAddresses: [],
    remoteAddress: textOf(fields, "remote_address"),
    hostname: textOf(fields, "hostname"),
    broadcastAddress: textOf(fields, "broadcast_address"),
    tcpPort: numberOf(fields, "tcp_port"),
    httpPort: numberOf(fields, "http_port"),
    version: textOf(fields, "version"),
    topics: textsOf(fields, "topics").map((topic, at) => ({ topic, tombstoned: tombstones[at] === true })),
    outOfDate: false,
  };
}

/** `host:port` of a broker's HTTP listener: its name in all answers. */
export function httpAddress({ broadcastAddress, httpPort }: Producer): string {
  return formatAddress(broadcastAddress, httpPort);
}

export function tcpAddress({ broadcastAddress, tcpPort }: Producer): string {
  return formatAddress(broadcastAddress, tcpPort);
}

/** A version that can be compared with others; the lowest one for a text that is none. */
export function comparableVersion({ version }: Producer): string {
  return /^\d+\.\d+\.\d+(?:[-+][\w.+-]+)?$/.test(version) ? version : "0.0.0";
}
