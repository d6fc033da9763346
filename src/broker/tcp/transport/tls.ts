import type { ClientListener } from "../../../net/client-listener.ts";
import type { BrokerOptions } from "../../options.ts";
import type { ServerTls } from "../../tls-options.ts";
import type { Connection } from "../connection.ts";
import type { PlainTransport, Transport } from "./transport.ts";

/** First byte of a TLS record that a handshake may begin with: a handshake message, or an alert. */
const HANDSHAKE_RECORD = 0x16;
const ALERT_RECORD = 0x15;

/** What was agreed in a handshake, and who the client has shown itself to be. */
export interface TlsFacts {
  /** As nsqd writes it: TLS1.2 */
  version: string;
  /** The name that IANA has for it. */
  cipherSuite: string;
  /** Of the client's certificate; empty without one. */
  commonName: string;
}

/** A handshake that is under way. */
export interface Handshake {
  /** The socket below: what is written to it is not encrypted, so until the handshake is through errors go there. */
  readonly plain: Transport;
  /** The client's first bytes have come. */
  begun: boolean;
}

/**
 * Begins a server's side of TLS on a socket that was accepted without. `connection` hears how the handshake ends; from
 * then on the events of its socket go through `listener`.
 */
export function startTls(
  connection: Connection,
  socket: PlainTransport,
  tls: ServerTls,
  policy: string,
  listener: ClientListener<Connection>,
): Handshake {
  const [plain] = socket.upgradeTLS<Connection | undefined>({
    // Types of Bun 1.4.5 do not know that it can be a server's side.
    ...({ isServer: true } as object),
    data: connection,
    // A certificate that is refused is refused by us, below: Bun would hang up without a word.
    tls: { ...tls, rejectUnauthorized: false },
    socket: {
      data: (secure, data) => listener.receive(secure.data, data),
      drain: (secure) => listener.onDrain(secure.data),
      end: (secure) => listener.onInputEnd(secure.data),
      close: (secure) => listener.onSocketClosed(secure.data),
      error: (secure, error) => listener.onSocketError(secure.data, error),
      handshake: (secure, success, error) => {
        // The socket below goes on delivering what is on the wire.
        plain.data = undefined;
        if (!success) return connection.layers.handshakeFailed(error?.message ?? "handshake failed");
        connection.layers.handshakeDone(secure, readFacts(secure), certificateProblem(secure, policy, error));
      },
    },
  });
  return { plain, begun: false };
}

/** Whether the first bytes of a client that should begin a handshake cannot be that. */
export function isNoHandshake(data: Buffer, at: number): boolean {
  return data[at] !== HANDSHAKE_RECORD && data[at] !== ALERT_RECORD;
}

/** What is wrong with the client's certificate under the policy, in Go's words; undefined if nothing is. */
function certificateProblem(
  secure: Bun.Socket<Connection | undefined>,
  policy: BrokerOptions["tlsClientAuthPolicy"],
  error: Error | null,
): Error | undefined {
  if (policy === "") return undefined;
  if (!hasCertificate(secure)) return new Error("tls: client didn't provide a certificate");
  if (policy === "require") return undefined;
  if (secure.authorized && error == null) return undefined;
  return new Error(`tls: failed to verify certificate: ${error?.message ?? "not authorized"}`);
}

function hasCertificate(secure: Bun.Socket<Connection | undefined>): boolean {
  return secure.getPeerX509Certificate() !== undefined;
}

function readFacts(secure: Bun.Socket<Connection | undefined>): TlsFacts {
  const cipher = secure.getCipher() as { standardName?: string; name?: string } | undefined;
  const subject = (secure.getPeerCertificate() as { subject?: { CN?: string | string[] } } | undefined)?.subject;
  const name = subject?.CN;
  return {
    version: versionName(secure.getTLSVersion()),
    cipherSuite: cipher?.standardName ?? "",
    commonName: Array.isArray(name) ? (name[0] ?? "") : (name ?? ""),
  };
}

/** OpenSSL's TLSv1.3 is TLS1.3 in nsqd's statistics, and its TLSv1 is TLS1.0. */
function versionName(version: string): string {
  const number = /^TLSv(.+)$/.exec(version)?.[1] ?? version;
  return `TLS${number === "1" ? "1.0" : number}`;
}
