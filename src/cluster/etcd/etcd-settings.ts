import { readFileSync } from "node:fs";
import { StartError } from "../../base/start-error.ts";
import { parseRemoteAddress } from "../../net/address.ts";
import { readPem } from "../../net/listener-tls.ts";
import type { EtcdOptions } from "./gateway.ts";

/** What the flags say of etcd; "" for those that are not given. */
export interface EtcdSettings {
  /** `host:port`, `http://host:port` or `https://host:port` each. */
  readonly etcdEndpoints: readonly string[];
  readonly etcdCa: string;
  readonly etcdCert: string;
  readonly etcdKey: string;
  readonly etcdUser: string;
  readonly etcdPasswordFile: string;
}

const CALL_LIMIT_MS = 2_000;

/**
 * Reads the files that the flags of etcd name.
 *
 * @throws StartError if they do not fit together or cannot be read
 */
export function readEtcdOptions(settings: EtcdSettings): EtcdOptions {
  const { etcdCa, etcdCert, etcdKey, etcdUser, etcdPasswordFile } = settings;
  if ((etcdCert === "") !== (etcdKey === "")) throw new StartError("give both -etcd-cert and -etcd-key, or neither");
  if ((etcdUser === "") !== (etcdPasswordFile === "")) throw new StartError("give both -etcd-user and -etcd-password-file, or neither");
  const hasTls = etcdCa !== "" || etcdCert !== "";
  const endpoints = [...new Set(settings.etcdEndpoints.map((text) => endpointOf(text, hasTls)))];
  if (endpoints.length === 0)
    throw new StartError("-etcd-endpoints is empty: give the address of each member of etcd, for instance 10.0.0.1:2379");
  return {
    endpoints,
    callLimitMs: CALL_LIMIT_MS,
    ...(hasTls && {
      tls: {
        ...(etcdCa !== "" && { ca: readPem("etcd-ca", etcdCa) }),
        ...(etcdCert !== "" && { cert: readPem("etcd-cert", etcdCert), key: readPem("etcd-key", etcdKey) }),
      },
    }),
    ...(etcdUser !== "" && { user: { name: etcdUser, password: readPassword(etcdPasswordFile) } }),
  };
}

/** An address without a scheme is asked over TLS if certificates are given. */
function endpointOf(text: string, hasTls: boolean): string {
  const [, scheme = hasTls ? "https" : "http", address = ""] = /^(?:(https?):\/\/)?([^/]+)\/?$/.exec(text.trim()) ?? [];
  if (address === "") throw badEndpoint(text);
  if (hasTls && scheme === "http") throw new StartError(`-etcd-endpoints has ${text}, but certificates for etcd are given: use https://`);
  const { hostname, port } = remoteAddress(text, address);
  return `${scheme}://${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
}

function remoteAddress(text: string, address: string): ReturnType<typeof parseRemoteAddress> {
  try {
    return parseRemoteAddress(address);
  } catch {
    throw badEndpoint(text);
  }
}

function badEndpoint(text: string): StartError {
  return new StartError(`invalid address "${text}" in -etcd-endpoints: give it as host:port or https://host:port`);
}

/** The file has the password and perhaps a line end. */
function readPassword(path: string): string {
  try {
    return readFileSync(path, "utf8").replace(/\r?\n$/, "");
  } catch (error) {
    throw new StartError(`-etcd-password-file ${path}: ${(error as Error).message}`);
  }
}
