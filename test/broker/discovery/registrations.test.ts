import { expect, test } from "bun:test";
import { leaderLines } from "../../../src/broker/discovery/registrations.ts";
import { InProcess } from "../../support/in-process.ts";

test("a partition that is led now is registered alone, not with all others of its topic", async () => {
  await using started = InProcess.start();
  const topic = started.broker.registry.topicWith("wide", 100, {});
  const partition = topic.partitions[70];
  expect(leaderLines(partition, true)).toEqual(["REGISTER wide 70", 'SETTINGS wide {"partition_num":100}']);
  expect(leaderLines(partition, false)).toEqual(["REGISTER wide"]);
});
