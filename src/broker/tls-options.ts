import type { KeyObject, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { lazy } from "../base/lazy.ts";
import { StartError } from "../base/start-error.ts";
import type { BrokerOptions, TlsRequirement } from "./options.ts";

/** Versions as TLS encodes them in its records. */
const VERSIONS: Record<BrokerOptions["tlsMinVersion"], number> = { "tls1.0": 0x0301, "tls1.1": 0x0302, "tls1.2": 0x0303, "tls1.3": 0x0304 };

const POLICIES = ["", "require", "require-verify"];

/**
 * The `tls` option of Bun.serve(), Bun.listen() and upgradeTLS() for the broker's listeners. Bun's types (1.4.5) lack
 * `minVersion`; tests show that it has an effect.
 */
export interface ServerTls extends Bun.TLSOptions {
  cert: string;
  key: string;
  minVersion: number;
  /** Whether clients are asked for a certificate. */
  requestCert: boolean;
  /** Whether the handshake fails without a certificate, or with one that no authority has signed. */
  rejectUnauthorized: boolean;
}

/**
 * Reads the files that the options name.
 *
 * The policy `require` asks for any certificate, whoever signed it. These options cannot express that, so the listener has to
 * check it (tcp/transport/tls.ts).
 *
 * @returns undefined without certificate and key: TLS is not offered
 * @throws StartError if they cannot be read or do not match, or if TLS is required without them
 */
export function buildServerTls(options: BrokerOptions): ServerTls | undefined {
  const { tlsCert, tlsKey, tlsClientAuthPolicy } = options;
  if (!POLICIES.includes(tlsClientAuthPolicy))
    throw new StartError(`-tls-client-auth-policy ${tlsClientAuthPolicy}: give require or require-verify, or do not give it`);
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
 * The TLS options of the broker's requests to auth servers: the authorities of -tls-root-ca-file and the lowest version, as
 * in nsqd's buildClientTLSConfig.
 *
 * @throws StartError if the file cannot be read
 */
export function buildClientTls(options: BrokerOptions): Bun.TLSOptions & { minVersion: number } {
  const ca = readRootCa(options);
  return { ...(ca === undefined ? {} : { ca }), minVersion: VERSIONS[options.tlsMinVersion] };
}

/** Which clients must speak TLS. A policy for client certificates makes no sense without TLS, so it requires it, as in nsqd. */
export function tlsRequirement(options: BrokerOptions): TlsRequirement {
  return options.tlsClientAuthPolicy !== "" && options.tlsRequired === "false" ? "true" : options.tlsRequired;
}

/** The number of the lowest version, as nsqd answers GET /config/tls_min_version. */
export function tlsMinVersionNumber(options: BrokerOptions): number {
  return VERSIONS[options.tlsMinVersion];
}

function readRootCa({ tlsRootCaFile }: BrokerOptions): string | undefined {
  if (tlsRootCaFile === "") return undefined;
  const ca = readPem("tls-root-ca-file", tlsRootCaFile);
  if (!ca.includes("-----BEGIN CERTIFICATE-----")) throw new StartError(`-tls-root-ca-file ${tlsRootCaFile}: it has no certificate`);
  return ca;
}

function readPem(flag: string, path: string): string {
  if (path === "") throw new StartError(`failed to build TLS config: -${flag} is missing; give both -tls-cert and -tls-key`);
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new StartError(`failed to build TLS config: -${flag} ${path}: ${(error as Error).message}`);
  }
}

/** Without this check, a key that does not match the certificate would show only when the first client comes. */
function checkPair(certPath: string, cert: string, keyPath: string, key: string): void {
  let certificate: X509Certificate;
  let privateKey: KeyObject;
  try {
    certificate = new lazy.crypto.X509Certificate(cert);
  } catch (error) {
    throw new StartError(`failed to build TLS config: -tls-cert ${certPath} has no certificate in PEM format: ${(error as Error).message}`);
  }
  try {
    privateKey = lazy.crypto.createPrivateKey(key);
  } catch (error) {
    throw new StartError(`failed to build TLS config: -tls-key ${keyPath} has no key in PEM format: ${(error as Error).message}`);
  }
  if (!certificate.checkPrivateKey(privateKey))
    throw new StartError(
      `failed to build TLS config: the key in -tls-key ${keyPath} does not match the certificate in -tls-cert ${certPath}`,
    );
}
