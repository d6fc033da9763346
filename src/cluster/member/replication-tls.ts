import { StartError } from "../../base/start-error.ts";
import type { BrokerOptions } from "../../broker/options.ts";
import { readPem } from "../../net/listener-tls.ts";
import type { NetworkTls } from "../net/socket-network.ts";

/** Reads the certificates of the connections between brokers. @returns undefined: they are without TLS @throws StartError */
export function readReplicationTls(options: BrokerOptions): NetworkTls | undefined {
  const { replicationTlsCa, replicationTlsCert, replicationTlsKey } = options;
  const given = [replicationTlsCa, replicationTlsCert, replicationTlsKey].filter((path) => path !== "");
  if (given.length === 0) return undefined;
  if (given.length < 3) throw new StartError("give all of -replication-tls-cert, -replication-tls-key and -replication-tls-ca, or none");
  return {
    ca: readPem("replication-tls-ca", replicationTlsCa),
    cert: readPem("replication-tls-cert", replicationTlsCert),
    key: readPem("replication-tls-key", replicationTlsKey),
  };
}
