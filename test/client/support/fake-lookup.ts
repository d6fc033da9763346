/** A lookup server that answers as the test says. */
export class FakeLookup implements Disposable {
  brokers: string[] = [];
  /** Which broker has which partition; if there are any, also what there is of a topic that was made with them. */
  leaders: string[] = [];
  isDown = false;
  asked = 0;
  private readonly server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: () => {
      this.asked++;
      if (this.isDown) return Response.json({ message: "INTERNAL_ERROR" }, { status: 500 });
      if (this.brokers.length === 0) return Response.json({ message: "TOPIC_NOT_FOUND" }, { status: 404 });
      const producers = this.brokers.map(nodeOf);
      if (this.leaders.length === 0) return Response.json({ channels: [], producers });
      const partitions = Object.fromEntries(this.leaders.map((broker, index) => [index, nodeOf(broker)]));
      return Response.json({ channels: [], meta: { partition_num: this.leaders.length }, partitions, producers });
    },
  });

  get address(): string {
    return `127.0.0.1:${this.server.port}`;
  }

  [Symbol.dispose](): void {
    void this.server.stop(true);
  }
}

/** `host`, or `host:port`. */
function nodeOf(broker: string): object {
  const [, host = broker, port = "4150"] = /^([^:]*):(\d+)$/.exec(broker) ?? [];
  return { broadcast_address: host, tcp_port: Number(port) };
}
