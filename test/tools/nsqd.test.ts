import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { removeFolder, temporaryFolder } from "../support/in-process.ts";
import { describeUnless, missing } from "../support/needs.ts";
import { startServer, until } from "../support/server.ts";
import { runTool, startTool } from "./support/tool.ts";

describeUnless(missing("nsqd"))("with Go's nsqd, our tools", () => {
  test("publish, forward, write, print and count", async () => {
    await using nsqd = await startServer({ program: "nsqd" });
    const address = `127.0.0.1:${nsqd.tcpPort}`;
    const folder = temporaryFolder();
    const lines = Array.from({ length: 1_000 }, (_, i) => `message ${i}\n`).join("");
    for (const topic of ["first", "second"]) {
      await nsqd.http("POST", `/topic/create?topic=${topic}`);
      for (const channel of ["c", "tail"]) await nsqd.http("POST", `/channel/create?topic=${topic}&channel=${channel}`);
    }
    const file = join(folder, "log");
    const forwarder = startTool(
      "bunsq",
      "nsq_to_nsq",
      [
        "-topic=first",
        "-channel=c",
        "-destination-topic=second",
        `-nsqd-tcp-address=${address}`,
        `-destination-nsqd-tcp-address=${address}`,
      ],
      "",
    );
    const writer = startTool(
      "bunsq",
      "nsq_to_file",
      ["-topic=second", "-channel=c", `-nsqd-tcp-address=${address}`, `-output-dir=${folder}`, "-filename-format=log"],
      "",
    );
    expect(await runTool("bunsq", "to_nsq", ["-topic=first", `-nsqd-tcp-address=${address}`], lines)).toMatchObject({ code: 0 });
    const sorted = (text: string) => text.split("\n").toSorted();
    await until("all lines", () => existsSync(file) && readFileSync(file, "utf8").length === lines.length);
    for (const tool of [forwarder, writer]) {
      tool.process.kill("SIGTERM");
      expect(await tool.ended).toMatchObject({ code: 0 });
    }
    expect(sorted(readFileSync(file, "utf8"))).toEqual(sorted(lines));
    const tail = await runTool("bunsq", "nsq_tail", ["-topic=first", "-channel=tail", "-n=1000", `-nsqd-tcp-address=${address}`]);
    expect([tail.code, sorted(tail.stdout)]).toEqual([0, sorted(lines)]);
    const stat = ["-topic=second", "-channel=c", "-count=1", "-interval=10ms", `-nsqd-http-address=127.0.0.1:${nsqd.httpPort}`];
    const { code, stdout } = await runTool("bunsq", "nsq_stat", stat);
    expect([code, stdout.trimEnd().split(/\s+/).at(-2)]).toEqual([0, "1000"]);
    removeFolder(folder);
  }, 60_000);
});
