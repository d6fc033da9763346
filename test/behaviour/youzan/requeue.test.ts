import { expect, test } from "bun:test";
import { InProcess } from "../../support/in-process.ts";
import { SteppedClock } from "../../support/stepped-clock.ts";
import { type Difference, Player } from "./support/player.ts";
import { makeTopic } from "./support/site.ts";
import { readTranscript } from "./support/transcript.ts";

const IN_STORE = "it is in the deferred store, and no consumer has it";
const COUNTS = "each delivery counts as an attempt, as in NSQ";

/** An error about the message with id 33, as frameText() shows it. */
function about33(verb: string, text: string): string[] {
  return [`error E_${verb}_FAILED ${verb} [0 0 0 0 0 0 0 33 0 0 0 0 0 0 0 0] failed ${text}`];
}

function short(attempts: number): string {
  return `message attempts ${attempts} id 21 trace 0000000000000000 body short`;
}

const DIFFERENCES: Difference[] = [
  { section: "REQ negative", at: 3, why: COUNTS, answers: ["message attempts 2 id 20 trace 0000000000000000 body neg"] },
  { section: "REQ of an already", at: 1, why: IN_STORE, answers: about33("REQ", "Message ID not in flight") },
  { section: "REQ of an already", at: 2, why: IN_STORE, answers: about33("FIN", "ErrType:7 ErrCode:0 : Message ID not in flight") },
  {
    section: "REQ of an already",
    at: 3,
    why: IN_STORE,
    answers: [...about33("TOUCH", "Message ID not in flight"), short(3)],
  },
];

test("messages are requeued for short, long, too long and negative times, and answered while they are deferred", async () => {
  const clock = new SteppedClock();
  await using started = InProcess.start({}, { clock });
  makeTopic(started.broker, "plain", { extended: false });
  started.broker.registry.topic("plain").channel("other");
  await started.publish("plain", ...Array.from({ length: 28 }, (_, i) => `m${i}`));
  started.broker.registry.topic("plain").channel("dr", ({ log }) => log.next);
  const published = [["delayme", "after"], ["far"], ["neg"], ["short"], []];
  const player = new Player(started, { shift: 0n, differences: DIFFERENCES });
  for (const [i, section] of readTranscript("b3-requeue").entries()) {
    await started.publish("plain", ...(published[i] ?? []));
    let isPlayed = false;
    const playing = player.section(section).finally(() => {
      isPlayed = true;
    });
    while (!isPlayed) await clock.pass(i < 3 ? 0 : 50);
    await playing;
  }
  expect([...player.met]).toEqual(DIFFERENCES);
  const deferred = started.broker.registry.topic("plain").channels.get("dr")?.deferredCount;
  expect(deferred).toBe(2);
});
