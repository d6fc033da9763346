import { connect, isIP, type Socket } from "node:net";
import { hostname } from "node:os";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import type { ClientSocket, RemoteAddress, SocketEvents, TlsOptions, Transport } from "../transport.ts";

/** Sockets of node:net and node:tls. */
export const nodeTransport: Transport = {
  connect: (address, events) => new NodeSocket(address, events),
  hostname,
};

class NodeSocket implements ClientSocket {
  private socket: Socket;
  private error: Error | undefined;
  private isClosed = false;

  constructor(
    address: RemoteAddress,
    private readonly events: SocketEvents,
  ) {
    this.socket = connect(address).setNoDelay(true);
    this.socket.once("connect", () => events.onOpen());
    this.listen(this.socket);
  }

  get waitingBytes(): number {
    return this.socket.writableLength;
  }

  write(bytes: Uint8Array): boolean {
    if (!this.isClosed && this.socket.writable) this.socket.write(bytes);
    // The stream keeps the bytes until it has sent them.
    return false;
  }

  startTls(tls: TlsOptions, serverName: string): void {
    const plain = this.socket;
    plain.removeAllListeners("data").removeAllListeners("drain");
    try {
      // The types do not know that lists are not changed.
      const options = { ...tls, socket: plain, ...(isIP(serverName) === 0 ? { servername: serverName } : {}) } as ConnectionOptions;
      // The name is checked even if it is an address, which SNI must not have.
      if (isIP(serverName) !== 0) options.host = serverName;
      this.socket = connectTls(options, () => this.events.onSecure());
      this.listen(this.socket);
    } catch (error) {
      this.error = error as Error;
      plain.destroy();
    }
  }

  end(): void {
    this.socket.end();
  }

  destroy(): void {
    this.socket.destroy();
  }

  private listen(socket: Socket): void {
    socket.on("data", (bytes) => this.events.onData(bytes as Uint8Array));
    socket.on("drain", () => this.events.onDrain());
    socket.on("error", (error) => {
      this.error ??= error;
      socket.destroy();
    });
    socket.on("close", () => this.close());
  }

  private close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.socket.destroy();
    this.events.onClose(this.error);
  }
}
