import { expect, test } from "bun:test";
import { InProcess } from "../../support/in-process.ts";
import { type Difference, type Play, Player } from "./support/player.ts";
import { makeTopic } from "./support/site.ts";
import { readTranscript } from "./support/transcript.ts";

const WHOLE_BODY = "the whole body of a batch is read before anything in it is refused, so the next command is understood";
const NO_EXTRA_WORDS = "words that no command has are refused, not ignored";

const DIFFERENCES: Difference[] = [
  { section: "MPUB_EXT to non-ext topic (2 msgs) then PUB", at: 1, why: WHOLE_BODY, answers: ["response OK"] },
  { section: "MPUB_EXT bad: json in 1st of 2", at: 1, why: WHOLE_BODY, answers: ["response OK"] },
  { section: "PUB 4 params", at: 0, why: NO_EXTRA_WORDS, answers: ["error E_INVALID PUB invalid number of parameters", "closed"] },
];

test("publishes are answered as Youzan's nsqd answers them", async () => {
  await using started = InProcess.start();
  const { broker } = started;
  makeTopic(broker, "plain", { extended: false });
  makeTopic(broker, "ext", { extended: true });
  makeTopic(broker, "ord", { ordered: true }, 2);
  makeTopic(broker, "mp", { extended: true }, 4);
  // What was there when the session was recorded.
  await started.publish("plain", "x", "hello", "a", "b", "c");
  const play: Play = { shift: 1n, differences: DIFFERENCES };
  const player = new Player(started, play);
  for (const section of readTranscript("a1")) await player.section(section);
  expect([...player.met]).toEqual(DIFFERENCES);
});
