import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Path of one of the files that make.sh made. */
export function certificate(file: string): string {
  return join(import.meta.dir, file);
}

/** Whose certificate a client shows: one that `ca` vouches for, one for servers as well, one that only a stranger vouches for, or one of the past. */
export type Holder = "client" | "node" | "foreign" | "expired";

/** What a client's end of TLS needs to know the test server, and to show a certificate of its own. */
export function clientTls(holder?: Holder): { ca: string; caFile: string; cert?: string; key?: string } {
  const read = (file: string) => readFileSync(certificate(file), "utf8");
  return {
    ca: read("ca.pem"),
    caFile: certificate("ca.pem"),
    ...(holder === undefined ? {} : { cert: read(`${holder}.pem`), key: read(`${holder}.key`) }),
  };
}

/** The flags of a broker that speaks TLS. */
export const TLS_FLAGS = [
  `--tls-cert=${certificate("server.pem")}`,
  `--tls-key=${certificate("server.key")}`,
  // Without it every one would listen on the same port.
  "--https-address=127.0.0.1:0",
];
