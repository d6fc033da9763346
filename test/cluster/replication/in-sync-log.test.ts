import { expect, test } from "bun:test";
import { InSyncLog } from "../../../src/cluster/replication/in-sync-log.ts";
import { MemoryLogger } from "../../support/in-process.ts";

test("which replicas are out of sync or in sync again is said once for each broker, however many partitions it has", () => {
  const logger = new MemoryLogger();
  const counts = { inSyncLeft: 0, inSyncJoined: 0 };
  const log = new InSyncLog(logger, counts);
  const [ours, theirs] = ["0123456789abcdef".repeat(2), "fedcba9876543210".repeat(2)];
  for (let i = 0; i < 300; i++) log.changed(`orders/${i}`, [ours, theirs], [ours]);
  expect(logger.lines).toEqual([]);
  log.flush();
  log.changed("orders/7", [ours], [ours, theirs]);
  log.flush();
  log.flush();
  expect(counts).toEqual({ inSyncLeft: 300, inSyncJoined: 1 });
  expect(logger.lines).toEqual([
    "WARNING: REPLICA(fedcba98): out of sync in orders/0, orders/1, orders/2, orders/3, orders/4 and 295 more partitions",
    "INFO: REPLICA(fedcba98): in sync in orders/7",
  ]);
});
