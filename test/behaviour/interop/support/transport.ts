import { createHash } from "node:crypto";
import { certificate } from "../../../support/certs/certs.ts";

/** What the clients' programs find in BUNSQ_TRANSPORT, as JSON: paths of PEM files, and a compression. */
export interface Transport {
  /** Given: TLS, with a broker that this authority vouches for. */
  ca?: string;
  /** Given: the client shows this certificate. */
  cert?: string;
  key?: string;
  compression?: "snappy" | "deflate";
}

const TLS = { ca: certificate("ca.pem") };

/** Ways to talk to a broker, each with the flags that the broker needs beside certificate and key. */
export const TRANSPORTS: { name: string; transport: Transport; flags: string[] }[] = [
  { name: "TLS", transport: TLS, flags: ["--tls-required=tcp-https"] },
  {
    name: "TLS with a client certificate",
    transport: { ...TLS, cert: certificate("client.pem"), key: certificate("client.key") },
    flags: ["--tls-client-auth-policy=require-verify", `--tls-root-ca-file=${TLS.ca}`, "--tls-required=tcp-https"],
  },
  { name: "snappy", transport: { compression: "snappy" }, flags: [] },
  { name: "deflate", transport: { compression: "deflate" }, flags: [] },
  { name: "TLS and snappy", transport: { ...TLS, compression: "snappy" }, flags: [] },
  { name: "TLS and deflate", transport: { ...TLS, compression: "deflate" }, flags: [] },
];

const LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789".repeat(7);

/** The hash of the bodies 0 … count - 1 in their order, each a number and some text of its own length. */
export function hashOfBodies(count: number): string {
  const hash = createHash("sha256");
  for (let i = 0; i < count; i++) hash.update(`${i} ${LETTERS.slice(0, (i * 7) % 251)}`);
  return hash.digest("hex");
}
