import type { KeyObject, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { lazy } from "../base/lazy.ts";
import { StartError } from "../base/start-error.ts";

/** Versions as TLS encodes them in its records. */
export const TLS_VERSIONS = { "tls1.0": 0x0301, "tls1.1": 0x0302, "tls1.2": 0x0303, "tls1.3": 0x0304 } as const;

/**
 * The `tls` option of Bun.serve(), Bun.listen() and upgradeTLS() for a listener. Bun's types (1.4.5) lack `minVersion`; tests show
 * that it has an effect.
 */
export interface ListenerTls extends Bun.TLSOptions {
  /** PEM, with the intermediate certificates behind it. */
  cert: string;
  /** PEM. */
  key: string;
  minVersion: number;
}

/** Paths of PEM files, as -tls-cert and -tls-key name them; empty: none. */
export interface KeyPairPaths {
  readonly tlsCert: string;
  readonly tlsKey: string;
}

/**
 * Reads a listener's certificate and private key.
 *
 * @param flagPrefix in front of the flags' names in errors
 * @returns undefined if neither is given
 * @throws StartError if one is missing, cannot be read or is none, or if they do not match
 */
export function readListenerTls(
  { tlsCert, tlsKey }: KeyPairPaths,
  minVersion: keyof typeof TLS_VERSIONS,
  flagPrefix = "",
): ListenerTls | undefined {
  if (tlsCert === "" && tlsKey === "") return undefined;
  const certFlag = `${flagPrefix}tls-cert`;
  const keyFlag = `${flagPrefix}tls-key`;
  if (tlsCert === "" || tlsKey === "") {
    const missing = tlsCert === "" ? certFlag : keyFlag;
    throw new StartError(`failed to build TLS config: -${missing} is missing; give both -${certFlag} and -${keyFlag}`);
  }
  const cert = readPem(certFlag, tlsCert);
  const key = readPem(keyFlag, tlsKey);
  checkPair(`-${certFlag} ${tlsCert}`, cert, `-${keyFlag} ${tlsKey}`, key);
  return { cert, key, minVersion: TLS_VERSIONS[minVersion] };
}

/** Reads a PEM file that a flag names. @throws StartError if it cannot be read */
export function readPem(flag: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new StartError(`failed to build TLS config: -${flag} ${path}: ${(error as Error).message}`);
  }
}

/**
 * Without this check, a key that does not match the certificate would show only when the first client comes.
 *
 * @param whichCert the flag and the path, for errors
 */
function checkPair(whichCert: string, cert: string, whichKey: string, key: string): void {
  let certificate: X509Certificate;
  let privateKey: KeyObject;
  try {
    certificate = new lazy.crypto.X509Certificate(cert);
  } catch (error) {
    throw new StartError(`failed to build TLS config: ${whichCert} has no certificate in PEM format: ${(error as Error).message}`);
  }
  try {
    privateKey = lazy.crypto.createPrivateKey(key);
  } catch (error) {
    throw new StartError(`failed to build TLS config: ${whichKey} has no key in PEM format: ${(error as Error).message}`);
  }
  if (!certificate.checkPrivateKey(privateKey))
    throw new StartError(`failed to build TLS config: the key in ${whichKey} does not match the certificate in ${whichCert}`);
}
