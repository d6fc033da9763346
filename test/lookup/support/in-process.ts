import { DescriptorBudget, descriptorLimit } from "../../../src/base/descriptor-budget.ts";
import { parseFlags } from "../../../src/cli/flags.ts";
import { lookupFlags } from "../../../src/cli/lookup-flags.ts";
import type { LookupOptions } from "../../../src/lookup/options.ts";
import type { RegistryClock } from "../../../src/lookup/registry.ts";
import { type LookupServer, startLookup } from "../../../src/lookup/start-lookup.ts";
import { MemoryLogger } from "../../support/in-process.ts";
import { type Identity, identityOf, LookupClient } from "./lookup-client.ts";

/** The flag table's defaults, on ports that the system chooses. */
export function lookupOptions(changes: Partial<LookupOptions> = {}): LookupOptions {
  const { options } = parseFlags(lookupFlags("test"), []);
  return { ...options, tcpAddress: "127.0.0.1:0", httpAddress: "127.0.0.1:0", ...changes };
}

/** A lookup server in this process with real sockets, and its clients. `await using` closes all of them. */
export class InProcessLookup implements AsyncDisposable {
  readonly log = new MemoryLogger();
  readonly server: LookupServer;
  private readonly clients: LookupClient[] = [];

  constructor(changes: Partial<LookupOptions> = {}, clock?: RegistryClock) {
    this.server = startLookup(lookupOptions(changes), this.log, "", new DescriptorBudget(descriptorLimit()), clock);
  }

  /** One that all brokers have had time to register at, so that it makes topics at once. */
  static settled(changes: Partial<LookupOptions> = {}): InProcessLookup {
    let readings = 0;
    // It reads the clock first when it starts.
    const monotonicMs = () => performance.now() - (readings++ === 0 ? 60_000 : 0);
    return new InProcessLookup(changes, { monotonicMs, wallMs: () => Date.now() });
  }

  async client(magic?: string): Promise<LookupClient> {
    const client = await LookupClient.connect(this.server.tcpPort, magic);
    this.clients.push(client);
    return client;
  }

  /** Connects a client and identifies it. */
  async broker(name: string, changes: Partial<Identity> = {}): Promise<LookupClient> {
    const client = await this.client();
    await client.identify(identityOf(name, changes));
    return client;
  }

  async get(target: string): Promise<unknown> {
    return (await fetch(`http://127.0.0.1:${this.server.httpPort}${target}`)).json();
  }

  /** The brokers of a topic, as clients get them. */
  async producers(topic: string): Promise<string[]> {
    const { producers = [] } = (await this.get(`/lookup?topic=${topic}`)) as { producers?: { broadcast_address: string }[] };
    return producers.map(({ broadcast_address }) => broadcast_address);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.clients) client.close();
    await this.server.stop();
  }
}
