import type { Logger } from "../../base/logger.ts";
import { formatAddress } from "../../net/address.ts";
import type { ConnectionLimit } from "./connection-limit.ts";
import { connectProxy, LOOPBACK, type ProxiedSocket, type ProxyHost, TcpProxy } from "./tcp-proxy.ts";

/** A proxy has two sockets beside the client's: both ends of its connection to Bun.serve(). */
const PROXY_DESCRIPTORS = 2;

/** The proxies of one front: as many as there are descriptors for, found by the ports that their requests come from. */
export class Proxies implements ProxyHost {
  private readonly byPort = new Map<number, TcpProxy>();
  /** Port of Bun.serve() on the loopback. */
  serverPort = 0;

  constructor(
    private readonly clock: { readonly steadyMs: number },
    private readonly connections: Pick<ConnectionLimit, "takeDescriptors" | "giveBackDescriptors">,
    private readonly rateLimitedLog: Pick<Logger, "error">,
  ) {}

  get steadyMs(): number {
    return this.clock.steadyMs;
  }

  /** @returns undefined if there are no descriptors for it */
  open(client: ProxiedSocket, first: Buffer[], inputEnded: boolean): TcpProxy | undefined {
    return this.connections.takeDescriptors(PROXY_DESCRIPTORS) ? new TcpProxy(this, client, first, inputEnded) : undefined;
  }

  /** The server has received a whole request from a port. */
  onRequestComplete(port: number): void {
    this.byPort.get(port)?.onRequestComplete();
  }

  /** The address of the client whose requests come to the server from an address; "gone": it is closed; undefined: it is no proxy's. */
  clientAddress(address: string, port: number): string | undefined {
    // Another address of this machine may have the same port.
    const client = address === LOOPBACK ? this.byPort.get(port)?.client : undefined;
    if (client === undefined) return undefined;
    // Bun's types do not say that both are undefined when the client is gone.
    const { remoteAddress: host, remotePort }: { remoteAddress?: string; remotePort?: number } = client;
    return host === undefined || remotePort === undefined ? "gone" : formatAddress(host, remotePort);
  }

  // ---- calls of a proxy

  connect(proxy: TcpProxy): void {
    connectProxy(proxy, this.serverPort, this.rateLimitedLog);
  }

  setProxyAt(port: number, proxy: TcpProxy | undefined): void {
    if (proxy === undefined) this.byPort.delete(port);
    else this.byPort.set(port, proxy);
  }

  onProxyClosed(): void {
    this.connections.giveBackDescriptors(PROXY_DESCRIPTORS);
  }
}
