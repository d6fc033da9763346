/**
 * Asks brokers, one after the other: the answers of twenty brokers with 2,500 clients each have 30 MB, and only one is in memory at
 * a time. A broker that does not answer is left out: the watcher tells why.
 */
export async function askBrokers(brokers: Iterable<string>, ask: (broker: string) => Promise<void>): Promise<void> {
  for (const broker of brokers) {
    try {
      await ask(broker);
    } catch {
      // Whether a broker answers is what the watcher finds out, and shows, once for all views.
    }
  }
}
