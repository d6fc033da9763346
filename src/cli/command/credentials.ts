import { readFileSync } from "node:fs";
import { ClientError, type ConnectionOptions, type HttpOptions, type TlsOptions } from "../../client/bun.ts";
import { environmentName } from "../environment.ts";
import type { BoolFlag, Flag, FlagValue, StringFlag } from "../flag.ts";
import { quote, UsageError } from "../flags.ts";
import { BadValue, readText } from "../values.ts";
import type { Call } from "./command.ts";

/** How a command trusts brokers, and shows them who it is. The words are those of the broker's flags. */
export interface TlsFlags {
  tlsRootCaFile: string;
  tlsCert: string;
  tlsKey: string;
  tlsInsecure: boolean;
}

/** The flags of a command that connects to brokers' TCP listeners. */
export interface CredentialFlags extends TlsFlags {
  tls: boolean;
  authSecret: string;
}

/** Variables without this prefix set the broker's own certificate, and may be in the same environment. */
const TLS_PREFIX = "client-";

/** The variable that sets one of these flags. */
export function variableOf({ name }: Pick<Flag, "name">): string {
  return environmentName({ name: name.startsWith("tls") ? TLS_PREFIX + name : name });
}

function textFlag(name: string, doc: string): StringFlag {
  return { name, kind: "string", own: true, default: "", doc: `${doc} (${variableOf({ name })})` };
}

function boolFlag(name: string, doc: string): BoolFlag {
  return { name, kind: "bool", own: true, default: false, doc: `${doc} (${variableOf({ name })})` };
}

export const TLS_FLAGS = {
  tlsRootCaFile: textFlag(
    "tls-root-ca-file",
    "path of the certificate authorities that sign brokers' certificates; empty for those that come with Bun",
  ),
  tlsCert: textFlag("tls-cert", "path of the certificate to show to brokers that ask for one, followed by its intermediate certificates"),
  tlsKey: textFlag("tls-key", "path of the private key of the certificate"),
  tlsInsecure: boolFlag("tls-insecure", "accept any certificate of a broker, so that whoever is in between can read and change everything"),
} as const;

export const CREDENTIAL_FLAGS = {
  ...TLS_FLAGS,
  tls: boolFlag("tls", "encrypt TCP connections; any other of the tls flags does so too, unless this one is false"),
  authSecret: textFlag("auth-secret", "secret for AUTH, sent to brokers that ask for it; other users can see it on a command line"),
} as const;

/** What a flag, or else its variable, says; undefined if neither does. @throws UsageError */
function given(call: Pick<Call<unknown>, "given" | "environment">, flag: Flag): FlagValue | undefined {
  const onLine = call.given.get(flag.name);
  if (onLine !== undefined) return onLine;
  const variable = variableOf(flag);
  const text = call.environment[variable] ?? "";
  if (text === "") return undefined;
  try {
    return readText(flag, text);
  } catch (error) {
    if (!(error instanceof BadValue)) throw error;
    throw new UsageError(`invalid value ${quote(text)} for ${variable}: ${error.message}`);
  }
}

/** What the flags and variables say about TLS, without whether it is wanted; undefined if they say nothing. @throws UsageError; ClientError */
function tlsOf(call: Call<TlsFlags>): TlsOptions | undefined {
  const { tlsRootCaFile, tlsCert, tlsKey, tlsInsecure } = TLS_FLAGS;
  const path = (flag: StringFlag) => given(call, flag) || undefined;
  const [ca, cert, key] = [path(tlsRootCaFile), path(tlsCert), path(tlsKey)];
  if ((cert === undefined) !== (key === undefined)) throw new UsageError("--tls-cert and --tls-key go together");
  const isInsecure = given(call, tlsInsecure) === true;
  if (ca === undefined && cert === undefined && !isInsecure) return undefined;
  return {
    ...(ca === undefined ? {} : { ca: readPem(ca, "CERTIFICATE") }),
    ...(cert === undefined || key === undefined ? {} : { cert: readPem(cert, "CERTIFICATE"), key: readPem(key, "PRIVATE KEY") }),
    ...(isInsecure ? { rejectUnauthorized: false } : {}),
  };
}

/** How producers and consumers connect. @throws UsageError; ClientError if a file cannot be read */
export function connectionOptions(call: Call<CredentialFlags>): Pick<ConnectionOptions, "tls" | "authSecret"> {
  const wanted = given(call, CREDENTIAL_FLAGS.tls);
  const tls = wanted === false ? undefined : (tlsOf(call) ?? (wanted === true ? {} : undefined));
  const authSecret = given(call, CREDENTIAL_FLAGS.authSecret) as string | undefined;
  return { ...(tls === undefined ? {} : { tls }), ...(authSecret ? { authSecret } : {}) };
}

/** How HTTP calls are made, if any of the addresses is an HTTPS one. @throws UsageError; ClientError if a file cannot be read */
export function httpOptions(call: Call<TlsFlags>, addresses: readonly string[]): HttpOptions {
  const tls = addresses.some((address) => address.startsWith("https:")) ? tlsOf(call) : undefined;
  if (tls === undefined) return {};
  // The option is Bun's. Its type does not know that lists may be read-only.
  return { fetch: (url, init) => fetch(url, { ...init, tls: tls as Bun.TLSOptions } as BunFetchRequestInit) };
}

/** @param kind what the file has to have, because a runtime ignores what it does not know. @throws ClientError */
function readPem(path: FlagValue, kind: string): string {
  let text: string;
  try {
    text = readFileSync(String(path), "utf8");
  } catch (error) {
    throw new ClientError("INVALID_OPTION", `cannot read ${path}: ${(error as NodeJS.ErrnoException).code ?? error}`);
  }
  if (text.includes(`${kind}-----`)) return text;
  throw new ClientError("INVALID_OPTION", `${path} has no ${kind.toLowerCase()} in PEM format`);
}
