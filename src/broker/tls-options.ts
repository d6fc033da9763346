import type { KeyObject, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { lazy } from "../base/lazy.ts";
import { StartError } from "../base/start-error.ts";
import type { BrokerOptions, TlsRequirement } from "./options.ts";

/** Versions as they stand in TLS's own records. */
const VERSIONS: Record<BrokerOptions["tlsMinVersion"], number> = { "tls1.0": 0x0301, "tls1.1": 0x0302, "tls1.2": 0x0303, "tls1.3": 0x0304 };

const POLICIES = ["", "require", "require-verify"];

/**
 * What the broker's listeners need for TLS: given as `tls` to Bun.serve(), Bun.listen() or upgradeTLS().
 * `minVersion` is missing from Bun's types (1.4.5), and tests show that it is heeded.
 */
export interface ServerTls extends Bun.TLSOptions {
  cert: string;
  key: string;
  minVersion: number;
  /** Whether clients are asked for a certificate. */
  requestCert: boolean;
  /** Whether one that no authority vouches for, or none, ends the handshake. */
  rejectUnauthorized: boolean;
}

/**
 * Reads the files that the options name.
 *
 * Under `require` a client's certificate may be anybody's but must be there, which these options cannot say: who
 * serves by them has to look (transport/tls.ts does).
 *
 * @returns undefined without certificate and key: no TLS
 * @throws StartError when they cannot be read or do not fit, or TLS is required without them
 */
export function buildServerTls(options: BrokerOptions): ServerTls | undefined {
  const { tlsCert, tlsKey, tlsClientAuthPolicy } = options;
  if (!POLICIES.includes(tlsClientAuthPolicy))
    throw new StartError(`-tls-client-auth-policy ${tlsClientAuthPolicy}: must be require or require-verify, or not be given`);
  if (tlsCert === "" && tlsKey === "") {
    if (tlsRequirement(options) === "false") return undefined;
    throw new StartError("cannot require TLS client connections without TLS key and cert: give -tls-cert and -tls-key");
  }
  const cert = readPem("tls-cert", tlsCert);
  const key = readPem("tls-key", tlsKey);
  const ca = readRootCa(options);
  checkPair(tlsCert, cert, tlsKey, key);
  return {
    cert,
    key,
    ...(ca === undefined ? {} : { ca }),
    minVersion: VERSIONS[options.tlsMinVersion],
    requestCert: tlsClientAuthPolicy !== "",
    rejectUnauthorized: tlsClientAuthPolicy === "require-verify",
  };
}

/**
 * What requests of the broker's own need, to an auth server: the authorities of -tls-root-ca-file and the lowest
 * version, as in nsqd's buildClientTLSConfig.
 *
 * @throws StartError when the file cannot be read
 */
export function buildClientTls(options: BrokerOptions): Bun.TLSOptions & { minVersion: number } {
  const ca = readRootCa(options);
  return { ...(ca === undefined ? {} : { ca }), minVersion: VERSIONS[options.tlsMinVersion] };
}

/** Who must speak TLS. A policy for client certificates makes no sense without it, and so turns it on, as in nsqd. */
export function tlsRequirement(options: BrokerOptions): TlsRequirement {
  return options.tlsClientAuthPolicy !== "" && options.tlsRequired === "false" ? "true" : options.tlsRequired;
}

/** nsqd's number of the lowest version, as GET /config/tls_min_version answers it. */
export function tlsMinVersionNumber(options: BrokerOptions): number {
  return VERSIONS[options.tlsMinVersion];
}

function readRootCa({ tlsRootCaFile }: BrokerOptions): string | undefined {
  if (tlsRootCaFile === "") return undefined;
  const ca = readPem("tls-root-ca-file", tlsRootCaFile);
  if (!ca.includes("-----BEGIN CERTIFICATE-----"))
    throw new StartError(`-tls-root-ca-file ${tlsRootCaFile}: there is no certificate in it`);
  return ca;
}

function readPem(flag: string, path: string): string {
  if (path === "") throw new StartError(`failed to build TLS config: -${flag} is missing; -tls-cert and -tls-key are needed both`);
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new StartError(`failed to build TLS config: -${flag} ${path}: ${(error as Error).message}`);
  }
}

/** Without this, a key that does not fit would only show when the first client comes. */
function checkPair(certPath: string, cert: string, keyPath: string, key: string): void {
  let certificate: X509Certificate;
  let privateKey: KeyObject;
  try {
    certificate = new lazy.crypto.X509Certificate(cert);
  } catch (error) {
    throw new StartError(`failed to build TLS config: -tls-cert ${certPath} holds no certificate in PEM: ${(error as Error).message}`);
  }
  try {
    privateKey = lazy.crypto.createPrivateKey(key);
  } catch (error) {
    throw new StartError(`failed to build TLS config: -tls-key ${keyPath} holds no key in PEM: ${(error as Error).message}`);
  }
  if (!certificate.checkPrivateKey(privateKey))
    throw new StartError(
      `failed to build TLS config: the key in -tls-key ${keyPath} is not that of the certificate in -tls-cert ${certPath}`,
    );
}
