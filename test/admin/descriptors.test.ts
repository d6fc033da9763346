import { expect, test } from "bun:test";
import { startAdmin } from "../../src/admin/server.ts";
import { DescriptorBudget } from "../../src/base/descriptor-budget.ts";
import { adminFlags } from "../../src/cli/admin-flags.ts";
import { parseFlags } from "../../src/cli/flags.ts";
import { LineLogger } from "../../src/cli/line-logger.ts";

test("a console keeps few descriptors from the servers beside it, and five clients are sure of theirs", async () => {
  const budget = new DescriptorBudget(1024);
  const { options } = parseFlags(adminFlags(), ["-http-address=127.0.0.1:0", "-nsqd-http-address=127.0.0.1:1"]);
  const console = startAdmin(options, new LineLogger("fatal", ""), "", budget);
  const beside = budget.share();
  while (beside.take(1)) {}
  expect(beside.used).toBe(1024 - 64 - 15);
  await console.stop();
});
