/** Simulated brokers for a lookup server: one connection each and one command at a time, as nsqd does. */

const OK = Buffer.from("\0\0\0\x02OK");

/** A simulated broker. All answers except the first must be OK, byte for byte. */
export class SimulatedBroker {
  private socket!: Bun.Socket<undefined>;
  /** The received part of the answer to IDENTIFY. */
  private identity: Buffer = Buffer.alloc(0);
  private identified = false;
  private received = 0;
  private failure: string | undefined;
  private wake: () => void = () => {};

  static async connect(port: number, name: string): Promise<SimulatedBroker> {
    const broker = new SimulatedBroker();
    broker.socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_socket, data) => broker.receive(data),
        close: () => {
          broker.failure ??= "the connection was closed";
          broker.wake();
        },
      },
    });
    await broker.identify(name);
    return broker;
  }

  /** Sends each command after the answer to the one before it. */
  async register(commands: readonly Buffer[]): Promise<void> {
    for (const command of commands) {
      const wanted = this.received + OK.length;
      if (this.socket.write(command) !== command.length) throw new Error("the socket is full");
      while (this.received < wanted) await this.answer();
    }
  }

  close(): void {
    this.socket.end();
  }

  private async identify(name: string): Promise<void> {
    const body = JSON.stringify({
      broadcast_address: `${name}.example.org`,
      hostname: name,
      tcp_port: 4150,
      http_port: 4151,
      version: "1.3.0",
    });
    const size = Buffer.alloc(4);
    size.writeUInt32BE(body.length);
    this.socket.write(Buffer.concat([Buffer.from("  V1IDENTIFY\n"), size, Buffer.from(body)]));
    while (!this.identified) await this.answer();
  }

  private receive(data: Buffer): void {
    if (this.identified) {
      for (const byte of data)
        if (byte !== OK[this.received++ % OK.length]) this.failure ??= `not OK: ${data.toString("latin1").slice(0, 200)}`;
    } else {
      this.identity = Buffer.concat([this.identity, data]);
      this.identified = this.identity.length > 4 && this.identity.length === 4 + this.identity.readUInt32BE(0);
    }
    this.wake();
  }

  private async answer(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.wake = resolve;
    });
    if (this.failure !== undefined) throw new Error(this.failure);
  }
}

/** A REGISTER for every channel of every topic. As in nsqd, it registers the topic too. */
export function registrations(topics: readonly string[], channelsPerTopic: number): Buffer[] {
  return topics.flatMap((topic) => Array.from({ length: channelsPerTopic }, (_, i) => Buffer.from(`REGISTER ${topic} channel_${i}\n`)));
}
