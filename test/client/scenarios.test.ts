import { afterAll, beforeAll, describe, test } from "bun:test";
import * as client from "../../src/client/bun.ts";
import { nodeTransport } from "../../src/client/transports/node.ts";
import { describeUnless, missing } from "../support/needs.ts";
import { againAfterStalls } from "../support/stall-monitor.ts";
import { allScenarios } from "./suite/scenarios.ts";
import { type Stand, startStand } from "./support/stand.ts";

for (const program of ["bunsq", "nsqd"] as const) {
  const describeHere = program === "bunsq" ? describe : describeUnless(missing("nsqd", "nsqlookupd"));
  describeHere(`at ${program}`, () => {
    let stand: Stand;
    beforeAll(async () => {
      stand = await startStand(program);
    });
    afterAll(() => stand[Symbol.asyncDispose]());

    for (const [name, play] of allScenarios)
      test(name, () => againAfterStalls(() => play({ client, connection: {}, ...stand.addresses })), 90_000);

    // At nsqd they are played under Node itself (package.test.ts).
    if (program === "nsqd") return;
    describe("with the sockets of Node", () => {
      const connection = { transport: nodeTransport };
      for (const [name, play] of allScenarios)
        test(name, () => againAfterStalls(() => play({ client, connection, ...stand.addresses })), 90_000);
    });
  });
}
