import * as client from "bunsq/client";
import { allScenarios, type Stage, trafficScenarios } from "./scenarios.ts";

// The main program of the scenarios outside of `bun test`: reads where the brokers are, and prints a line for each scenario.

/** What the test gives: a stage without its client, and with several ways to connect. */
interface Script {
  stage: Omit<Stage, "client" | "connection">;
  /** Played over each of them are the scenarios about traffic. */
  connections: Record<string, client.ConnectionOptions>;
  /** Nothing else is played, because the broker refuses plain connections. */
  isTrafficOnly?: boolean;
}

let hasFailed = false;

process.on("unhandledRejection", (error) => {
  hasFailed = true;
  console.log(`FAIL unhandled rejection: ${(error as Error).stack}`);
});

const { stage, connections, isTrafficOnly = false } = JSON.parse(process.argv[2] ?? "") as Script;
for (const [name, play] of isTrafficOnly ? [] : allScenarios) await run(name, () => play({ ...stage, client, connection: {} }));
for (const [layers, connection] of Object.entries(connections)) {
  for (const [name, play] of trafficScenarios) await run(`${name}: ${layers}`, () => play({ ...stage, client, connection }));
}
console.log("END");
// A scenario that fails leaves its clients open. After the others the process must end by itself: the library keeps nothing alive.
if (hasFailed) process.exit(1);

async function run(name: string, play: () => Promise<void>): Promise<void> {
  try {
    await play();
    console.log(`ok ${name}`);
  } catch (error) {
    hasFailed = true;
    console.log(`FAIL ${name}: ${(error as Error).stack}`);
  }
}
