import { formatAddress } from "../../src/net/address.ts";

/** A port of UDP that keeps what is sent to it, as a statsd daemon's. */
export class UdpSink implements Disposable {
  readonly packets: string[] = [];

  private constructor(private readonly socket: Bun.udp.Socket<"buffer">) {}

  static async open(hostname = "127.0.0.1"): Promise<UdpSink> {
    let sink: UdpSink | undefined;
    const socket = await Bun.udpSocket({
      hostname,
      socket: {
        data: (_, packet) => {
          sink?.packets.push(packet.toString());
        },
      },
    });
    sink = new UdpSink(socket);
    return sink;
  }

  get address(): string {
    return formatAddress(this.socket.hostname, this.socket.port);
  }

  /** `key:value|type`, in their order. */
  get lines(): string[] {
    return this.packets.flatMap((packet) => packet.split("\n").slice(0, -1));
  }

  [Symbol.dispose](): void {
    this.socket.close();
  }
}
