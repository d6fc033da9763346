import { StartError } from "../base/start-error.ts";
import { type ListenerTls, readListenerTls, readPem, TLS_VERSIONS } from "../net/listener-tls.ts";
import type { BrokerOptions, TlsRequirement } from "./options.ts";

const POLICIES = ["", "require", "require-verify"];

/** The `tls` option of the broker's listeners. */
export interface ServerTls extends ListenerTls {
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
  const { tlsClientAuthPolicy } = options;
  if (!POLICIES.includes(tlsClientAuthPolicy))
    throw new StartError(`-tls-client-auth-policy ${tlsClientAuthPolicy}: give require or require-verify, or do not give it`);
  const tls = readListenerTls(options, options.tlsMinVersion);
  if (tls === undefined) {
    if (tlsRequirement(options) === "false") return undefined;
    throw new StartError("cannot require TLS client connections without TLS key and cert: give -tls-cert and -tls-key");
  }
  const ca = readRootCa(options);
  return {
    ...tls,
    ...(ca === undefined ? {} : { ca }),
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
  return { ...(ca === undefined ? {} : { ca }), minVersion: TLS_VERSIONS[options.tlsMinVersion] };
}

/** Which clients must speak TLS. A policy for client certificates makes no sense without TLS, so it requires it, as in nsqd. */
export function tlsRequirement(options: BrokerOptions): TlsRequirement {
  return options.tlsClientAuthPolicy !== "" && options.tlsRequired === "false" ? "true" : options.tlsRequired;
}

/** The number of the lowest version, as nsqd answers GET /config/tls_min_version. */
export function tlsMinVersionNumber(options: BrokerOptions): number {
  return TLS_VERSIONS[options.tlsMinVersion];
}

function readRootCa({ tlsRootCaFile }: BrokerOptions): string | undefined {
  if (tlsRootCaFile === "") return undefined;
  const ca = readPem("tls-root-ca-file", tlsRootCaFile);
  if (!ca.includes("-----BEGIN CERTIFICATE-----")) throw new StartError(`-tls-root-ca-file ${tlsRootCaFile}: it has no certificate`);
  return ca;
}
