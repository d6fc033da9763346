import { expect, test } from "bun:test";
import { DescriptorBudget } from "../../../src/base/descriptor-budget.ts";
import { httpLimits } from "../../../src/http/server/load.ts";
import { ProxyFront } from "../../../src/http/server/proxy-front.ts";

test("a client whose request has come is not the idle one that makes room for it: it is told that there is none", async () => {
  const descriptors = new DescriptorBudget(2);
  const http = descriptors.share();
  const logger = { error: () => {} };
  const services = { logger, rateLimitedLog: logger, options: { maxHttpConnections: 0 }, descriptors, clientDescriptors: { http } };
  const front = new ProxyFront(services, httpLimits({}), "127.0.0.1:0", "http-address");
  // The proxy would need two more descriptors beside the client's.
  const answer = await fetch(`http://127.0.0.1:${front.port}/ping`).then(
    ({ status }) => status,
    (error: Error) => error.message,
  );
  front.abort();
  expect(answer).toBe(503);
});
