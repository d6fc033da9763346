import { expect, test } from "bun:test";
import { type LogOutline, type Parting, partAt } from "../../../src/cluster/replication/parting.ts";

function outline(start: number, end: number, ...epochs: [epoch: number, firstSequence: number][]): LogOutline {
  return { start, end, epochs: epochs.map(([epoch, firstSequence]) => ({ epoch, firstSequence })) };
}

const keep = (to: number): Parting => ({ to, restarts: false });
const restart = (to: number): Parting => ({ to, restarts: true });
const leader = outline(0, 200, [1, 0], [3, 100], [4, 150]);

test.each<[what: string, follower: LogOutline, parting: Parting]>([
  ["an empty log begins at the leader's start", outline(0, 0), keep(0)],
  ["a follower that lacks the newest records keeps all", outline(0, 180, [1, 0], [3, 100], [4, 150]), keep(180)],
  ["a follower of an older epoch keeps all of it that the leader has", outline(0, 120, [1, 0], [3, 100]), keep(120)],
  ["what the old leader wrote alone is cut", outline(0, 160, [1, 0], [3, 100]), keep(150)],
  ["an epoch that the leader does not know is cut", outline(0, 130, [1, 0], [2, 90]), keep(90)],
  ["an epoch without records does not matter", outline(0, 100, [1, 0], [2, 100]), keep(100)],
  ["a log that was trimmed is compared by what is left", outline(110, 150, [3, 110]), keep(150)],
  ["nothing in common: the follower begins anew", outline(0, 70, [2, 0]), restart(0)],
  ["a log with no epochs is nobody's", outline(5, 70), restart(0)],
])("%s", (_what, follower, parting) => {
  expect(partAt(leader, follower)).toEqual(parting);
});

test("a leader that no longer has what a follower lacks has it begin at its own start", () => {
  const trimmed = outline(120, 200, [3, 120], [4, 150]);
  expect(partAt(trimmed, outline(0, 110, [1, 0], [3, 100]))).toEqual(restart(120));
  expect(partAt(trimmed, outline(0, 0))).toEqual(restart(120));
  expect(partAt(trimmed, outline(0, 130, [1, 0], [3, 100]))).toEqual(keep(130));
});

test("a follower that was trimmed further than the two agree begins anew", () => {
  expect(partAt(leader, outline(120, 140, [2, 120]))).toEqual(restart(0));
  expect(partAt(leader, outline(160, 170, [3, 160]))).toEqual(restart(0));
});
