import type { Server } from "../../support/server.ts";
import { NEIGHBOUR_TOPICS } from "./neighbour.ts";

/**
 * Deletes what the streams made, all the time: odd names make topics by the thousand, and a broker has to keep what
 * nobody deletes. So memory can be expected to stay bounded, and deletion is tested in the thick of it.
 */
export class Janitor {
  failure: Error | undefined;
  deleted = 0;
  private isStopping = false;
  private readonly done: Promise<void>;

  constructor(private readonly server: Server) {
    this.done = this.run();
  }

  async stop(): Promise<void> {
    this.isStopping = true;
    await this.done;
  }

  /** Deletes every topic but the neighbour's. */
  async sweep(): Promise<void> {
    for (const topic of await topicNames(this.server)) {
      if (NEIGHBOUR_TOPICS.includes(topic)) continue;
      const response = await this.server.http("POST", `/topic/delete?topic=${encodeURIComponent(topic)}`);
      const text = await response.text();
      // A stream may have been quicker: then it is not found, which is as well.
      if (response.status !== 200 && response.status !== 404) throw new Error(`deleting ${topic}: status ${response.status} ${text}`);
      this.deleted++;
    }
  }

  private async run(): Promise<void> {
    while (!this.isStopping) {
      try {
        await this.sweep();
      } catch (error) {
        this.failure ??= new Error(`the janitor could not work: ${(error as Error).message}`);
        return;
      }
      await Bun.sleep(500);
    }
  }
}

async function topicNames(server: Server): Promise<string[]> {
  const response = await server.http("GET", "/stats?format=json&include_clients=false");
  const stats = (await response.json()) as { topics: { topic_name: string }[] };
  return stats.topics.map((topic) => topic.topic_name);
}
