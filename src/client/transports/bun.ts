import { hostname } from "node:os";
import type { ClientSocket, RemoteAddress, SocketEvents, TlsOptions, Transport } from "../transport.ts";
import { Unsent } from "./unsent.ts";

/** Sockets of Bun. */
export const bunTransport: Transport = {
  connect: (address, events) => new BunSocket(address, events),
  hostname,
};

class BunSocket implements ClientSocket {
  private socket: Bun.Socket<undefined> | undefined;
  private readonly unsent = new Unsent();
  private isEnding = false;
  private isClosed = false;
  private error: Error | undefined;

  constructor(
    address: RemoteAddress,
    private readonly events: SocketEvents,
  ) {
    const handlers: Bun.SocketHandler<undefined> = {
      open: (socket) => {
        if (this.isClosed) return void socket.terminate();
        this.socket = socket;
        events.onOpen();
      },
      // After upgradeTLS() the plain socket still reports what comes, which is then encrypted.
      data: (socket, bytes) => {
        if (socket === this.socket) events.onData(bytes);
      },
      drain: (socket) => {
        if (socket === this.socket) this.drain();
      },
      end: () => this.close(undefined),
      close: () => this.close(this.error),
      error: (_socket, error) => this.close(error),
      connectError: (_socket, error) => this.close(error),
    };
    const connecting =
      "path" in address
        ? Bun.connect({ unix: address.path, socket: handlers, data: undefined })
        : Bun.connect({ hostname: address.host, port: address.port, socket: handlers, data: undefined });
    connecting.catch((error: Error) => this.close(error));
  }

  get waitingBytes(): number {
    return this.unsent.bytes;
  }

  write(bytes: Uint8Array): boolean {
    const { socket } = this;
    if (socket === undefined || this.isClosed) return true;
    if (!this.unsent.isEmpty) {
      this.unsent.push(bytes);
      return false;
    }
    const taken = Math.max(0, socket.write(bytes));
    if (taken === bytes.length) return true;
    this.unsent.push(bytes.subarray(taken));
    return false;
  }

  startTls(tls: TlsOptions, serverName: string): void {
    const { events } = this;
    const isStrict = tls.rejectUnauthorized !== false;
    try {
      const [, secure] = (this.socket as Bun.Socket<undefined>).upgradeTLS<undefined>({
        data: undefined,
        tls: {
          ...(tls.ca === undefined ? {} : { ca: asPem(tls.ca) }),
          ...(tls.cert === undefined ? {} : { cert: asPem(tls.cert) }),
          ...(tls.key === undefined ? {} : { key: asPem(tls.key) }),
          ...(tls.passphrase === undefined ? {} : { passphrase: tls.passphrase }),
          serverName,
          rejectUnauthorized: isStrict,
        },
        socket: {
          handshake: (_socket, isAuthorized, problem) => {
            if (isStrict && !isAuthorized) return this.fail(problem ?? new Error("the broker's certificate was refused"));
            events.onSecure();
          },
          data: (_socket, bytes) => events.onData(bytes),
          drain: () => this.drain(),
          end: () => this.close(undefined),
          close: () => this.close(this.error),
          error: (_socket, error) => this.close(error),
        },
      });
      this.socket = secure;
    } catch (error) {
      this.fail(error as Error);
    }
  }

  end(): void {
    this.isEnding = true;
    if (this.unsent.isEmpty) this.socket?.end();
  }

  destroy(): void {
    this.close(undefined);
  }

  private drain(): void {
    const { socket } = this;
    if (socket === undefined || !this.unsent.drainTo((piece) => socket.write(piece))) return;
    if (this.isEnding) socket.end();
    else this.events.onDrain();
  }

  private fail(error: Error): void {
    this.error = error;
    this.close(error);
  }

  private close(error: Error | undefined): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.unsent.clear();
    this.socket?.terminate();
    // The caller of connect() and destroy() is not to be called back before they return.
    queueMicrotask(() => this.events.onClose(error));
  }
}

function asPem(given: string | Uint8Array | readonly (string | Uint8Array)[]): string | string[] {
  const decoder = new TextDecoder();
  const text = (one: string | Uint8Array) => (typeof one === "string" ? one : decoder.decode(one));
  return typeof given === "string" || given instanceof Uint8Array ? text(given) : given.map(text);
}
