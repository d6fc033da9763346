import { expect, test } from "bun:test";
import { EXITING, LeaderError, PublishError } from "../../../src/broker/acks/pending-publish.ts";
import { unavailableCode } from "../../../src/broker/http/unavailable.ts";
import { NotLedHere } from "../../../src/broker/topics/not-led-here.ts";

test("what another broker of the cluster has to be asked for is said in words", () => {
  expect(unavailableCode(new NotLedHere("orders"))).toBe("another broker leads topic orders; lookup servers tell which one");
  expect(unavailableCode(new LeaderError("nobody leads orders/0 now", "E_FAILED_ON_NOT_LEADER"))).toBe("nobody leads orders/0 now");
  expect(unavailableCode(new PublishError("disk full"))).toBe("PUB_FAILED");
  expect(unavailableCode(new PublishError(EXITING))).toBe("EXITING");
});
