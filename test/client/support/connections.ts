import { readFileSync } from "node:fs";
import type { ConnectionOptions } from "../../../src/client/client.ts";
import { certificate } from "../../support/certs/certs.ts";

/** Flags of a broker that wants TLS and a client certificate from everybody. */
export const STRICT_FLAGS = [
  `--tls-cert=${certificate("server.pem")}`,
  `--tls-key=${certificate("server.key")}`,
  `--tls-root-ca-file=${certificate("ca.pem")}`,
  "--tls-client-auth-policy=require-verify",
];

const pem = (name: string) => readFileSync(certificate(name), "utf8");

/** TLS as such a broker wants it. */
export const tls = { ca: pem("ca.pem"), cert: pem("client.pem"), key: pem("client.key"), serverName: "127.0.0.1" };

/** Ways to connect, and whether they need such a broker. */
export const CONNECTIONS: Record<string, ConnectionOptions> = {
  "TLS with a client certificate": { tls },
  "TLS with any certificate": { tls: { cert: tls.cert, key: tls.key, rejectUnauthorized: false } },
  deflate: { deflate: true },
  "deflate at level 1": { deflate: 1 },
  snappy: { snappy: true },
  "TLS and deflate": { tls, deflate: true },
  "TLS and snappy": { tls, snappy: true },
};
