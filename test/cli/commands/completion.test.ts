import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { missing, testUnless } from "../../support/needs.ts";
import { runCommand } from "./support/cli.ts";

/** Runs a shell with the completion script between some lines. @returns what it printed */
async function inShell(shell: "bash" | "zsh" | "fish", lines: string, before = ""): Promise<string[]> {
  const folder = temporaryFolder();
  try {
    const { code, stdout } = await runCommand({}, ["completion", shell]);
    expect(code).toBe(0);
    const path = join(folder, "script");
    writeFileSync(path, `${before}\n${stdout}\n${lines}\n`);
    const { stdout: printed, stderr } = Bun.spawnSync([Bun.which(shell) ?? shell, path], { cwd: folder, stdin: "ignore", stderr: "pipe" });
    expect(stderr.toString()).toBe("");
    return printed.toString().trimEnd().split("\n");
  } finally {
    removeFolder(folder);
  }
}

/** The completions that bash offers behind these words; the last one is what was begun. */
async function inBash(...words: string[]): Promise<string[]> {
  const list = words.map((word) => `'${word}'`).join(" ");
  return inShell("bash", `COMP_WORDS=(bunsq ${list}); COMP_CWORD=${words.length}; _bunsq; printf '%s\\n' "\${COMPREPLY[@]}"`);
}

describe("completion in bash", () => {
  testUnless(missing("bash"))(
    "has commands, the commands behind them, their flags and the values of these",
    async () => {
      expect(await inBash("top")).toEqual(expect.arrayContaining(["topics", "topic"]));
      const actions = ["create", "expand", "partitions", "delete", "pause", "unpause", "empty", "retention"];
      expect(await inBash("topic", "")).toEqual([...actions, "--help"]);
      expect(await inBash("channel", "settings", "t", "c", "--order", "=", "p")).toEqual(["partition"]);
      const tls = ["--tls-cert=", "--tls-insecure", "--tls-key=", "--tls-root-ca-file="];
      expect(await inBash("topic", "delete", "--")).toEqual(["--broker=", "--json", "--lookup=", ...tls, "--yes", "--help"]);
      expect(await inBash("peek", "orders", "--state", "=", "w")).toEqual(["waiting"]);
      expect(await inBash("peek", "orders", "--state", "=")).toEqual(["in_flight", "waiting", "deferred"]);
      expect(await inBash("completion", "")).toEqual(["bash", "zsh", "fish", "--help"]);
      expect(await inBash("broker", "--data")).toEqual(["--data-path="]);
      expect(await inBash("--durab")).toEqual(["--durability="]);
      expect(await inBash("help", "fla")).toEqual(["flags"]);
      // A topic may be named as a command is.
      expect(await inBash("peek", "topic", "--js")).toEqual(["--json"]);
    },
    60_000,
  );

  testUnless(missing("bash"))(
    "offers files where none of its words fits",
    async () => {
      expect(await inBash("check", "/etc/pass")).toEqual([""]);
      const [line = ""] = await inShell("bash", "complete -p bunsq");
      expect(line).toBe("complete -o default -F _bunsq bunsq");
    },
    60_000,
  );
});

testUnless(missing("zsh"))(
  "the script for zsh is what completes bunsq there",
  async () => {
    expect(await inShell("zsh", "print -r -- $_comps[bunsq]", "autoload -Uz compinit; compinit -u -D")).toEqual(["_bunsq"]);
  },
  60_000,
);

testUnless(missing("fish"))(
  "the script for fish has commands and flags",
  async () => {
    const lines = await inShell("fish", 'complete --do-complete "bunsq topic "; complete --do-complete "bunsq topic delete --y"');
    expect(lines.map((line) => line.split("\t")[0])).toEqual(expect.arrayContaining(["create", "delete", "--yes"]));
  },
  60_000,
);

test("all shells get a script of their own", async () => {
  for (const shell of ["bash", "zsh", "fish"]) {
    const { code, stdout } = await runCommand({}, ["completion", shell]);
    expect([code, stdout.includes(`bunsq completion ${shell}`)]).toEqual([0, true]);
    for (const word of ["retention", "durability", "in_flight"]) expect([shell, word, stdout.includes(word)]).toEqual([shell, word, true]);
  }
}, 60_000);
