import type { Writer } from "../../../net/writer.ts";
import type { BrokerOptions } from "../../options.ts";
import type { ServerTls } from "../../tls-options.ts";

/** The first byte of a TLS record that a handshake may begin with: a handshake message, or an alert. */
const HANDSHAKE_RECORD = 0x16;
const ALERT_RECORD = 0x15;

/** A client's socket, before TLS or with it. */
export interface Transport extends Writer {
  /** Sends what was written, then ends our side. */
  end(): void;
  /** Cuts the connection now. */
  terminate(): void;
  pause(): void;
  resume(): void;
}

/** A socket before TLS. */
export type PlainTransport = Transport & Pick<Bun.Socket<unknown>, "upgradeTLS">;

/** What a TLS handshake agreed on, and what the client's certificate says. */
export interface TlsFacts {
  /** As nsqd writes it: TLS1.2 */
  version: string;
  /** IANA's name for it. */
  cipherSuite: string;
  /** The name in the client's certificate; empty without one. */
  commonName: string;
}

/** A handshake that is under way. */
export interface Handshake {
  /** The socket below TLS. What is written to it is not encrypted, so errors go there until the handshake is done. */
  readonly plain: Transport;
  /** The client's first bytes have come. */
  begun: boolean;
}

/** The connection whose handshake is under way. */
export interface HandshakeListener {
  /** @param problem what is wrong with the client's certificate */
  onHandshakeDone(secure: Transport, facts: TlsFacts, problem: Error | undefined): void;
  onHandshakeFailed(error: Error): void;
}

/** The listener that accepted the socket: the events of the socket's plain bytes are its events. */
export interface TlsEvents<Connection> {
  receive(connection: Connection | undefined, data: Buffer): void;
  onDrain(connection: Connection | undefined): void;
  onInputEnd(connection: Connection | undefined): void;
  onSocketClosed(connection: Connection | undefined): void;
  onSocketError(connection: Connection | undefined, error: Error): void;
}

/** How TLS is spoken. */
export interface TlsPolicy {
  readonly tls: ServerTls;
  readonly clientAuthPolicy: BrokerOptions["tlsClientAuthPolicy"];
}

/** Starts the server's side of TLS on a socket that was accepted without it. */
export function startTls<Connection>(
  socket: PlainTransport,
  connection: Connection,
  listener: HandshakeListener,
  events: TlsEvents<Connection>,
  { tls, clientAuthPolicy }: TlsPolicy,
): Handshake {
  const [plain] = socket.upgradeTLS<Connection | undefined>({
    // The types of Bun 1.4.5 lack the server's side.
    ...({ isServer: true } as object),
    data: connection,
    // certificateProblem() refuses a bad certificate: Bun would close the connection without telling the client why.
    tls: { ...tls, rejectUnauthorized: false },
    socket: {
      handshake: (secure, success, error) => {
        // From here on the socket below brings encrypted bytes, which nobody reads.
        plain.data = undefined;
        if (!success) return listener.onHandshakeFailed(error ?? new Error("handshake failed"));
        listener.onHandshakeDone(secure, factsOf(secure), certificateProblem(secure, clientAuthPolicy, error));
      },
      data: (secure, data) => events.receive(secure.data, data),
      drain: (secure) => events.onDrain(secure.data),
      end: (secure) => events.onInputEnd(secure.data),
      close: (secure) => events.onSocketClosed(secure.data),
      error: (secure, error) => events.onSocketError(secure.data, error),
    },
  });
  return { plain, begun: false };
}

/** Whether a TLS handshake can begin with these bytes. */
export function isHandshake(data: Buffer): boolean {
  return data[0] === HANDSHAKE_RECORD || data[0] === ALERT_RECORD;
}

/** What is wrong with the client's certificate under the policy, in Go's words. */
function certificateProblem(
  secure: Bun.Socket<unknown>,
  policy: BrokerOptions["tlsClientAuthPolicy"],
  error: Error | null,
): Error | undefined {
  if (policy === "") return undefined;
  if (secure.getPeerX509Certificate() === undefined) return new Error("tls: client didn't provide a certificate");
  if (policy === "require") return undefined;
  if (secure.authorized && error == null) return undefined;
  return new Error(`tls: failed to verify certificate: ${error?.message ?? "not authorized"}`);
}

function factsOf(secure: Bun.Socket<unknown>): TlsFacts {
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
