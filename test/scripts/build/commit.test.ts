import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { sourceCommit } from "../../../scripts/build/commit.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { missing, testUnless } from "../../support/needs.ts";

const FIRST = "0123456789abcdef0123456789abcdef01234567";
const SECOND = "89abcdef0123456789abcdef0123456789abcdef";

let root: string;
beforeEach(() => {
  root = temporaryFolder();
  write("package.json", "{}");
});
afterEach(() => removeFolder(root));

function write(path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}

/** The commit where git is not installed. */
const found = (environment: Record<string, string> = {}) => sourceCommit({ root, environment, git: undefined });

test("without git the commit is read from git's files", () => {
  write(".git/HEAD", "ref: refs/heads/main\n");
  write(".git/refs/heads/main", `${FIRST}\n`);
  expect(found()).toBe("0123456789ab");
  // Refs that do not change are in one file.
  rmSync(join(root, ".git/refs"), { recursive: true });
  write(".git/packed-refs", `# pack-refs with: peeled\n${FIRST} refs/heads/other\n${SECOND} refs/heads/main\n`);
  expect(found()).toBe("89abcdef0123");
  write(".git/HEAD", `${FIRST}\n`);
  expect(found()).toBe("0123456789ab");
});

test("without git the commit of a worktree is read from its clone's files", () => {
  write(".git", "gitdir: ./clone/worktrees/here\n");
  write("clone/worktrees/here/HEAD", "ref: refs/heads/topic/one\n");
  write("clone/worktrees/here/commondir", "../..\n");
  write("clone/refs/heads/topic/one", `${SECOND}\n`);
  expect(found()).toBe("89abcdef0123");
});

test("a package says what it was published from, and a packager what is built", () => {
  expect(found()).toBe("");
  write("package.json", JSON.stringify({ gitHead: FIRST }));
  expect(found()).toBe("0123456789ab");
  expect(found({ BUNSQ_BUILD_COMMIT: SECOND })).toBe("89abcdef0123");
  expect(found({ BUNSQ_BUILD_COMMIT: `${SECOND}-dirty` })).toBe("89abcdef0123-dirty");
  expect(() => found({ BUNSQ_BUILD_COMMIT: "v1.0 of mine" })).toThrow("BUNSQ_BUILD_COMMIT=v1.0 of mine is no commit");
});

test("files of git that are damaged or empty say nothing", () => {
  for (const head of ["", "ref: refs/heads/gone\n", "ref: ../../package.json\n", "nonsense\n"]) {
    write(".git/HEAD", head);
    expect([head, found()]).toEqual([head, ""]);
  }
});

testUnless(missing("git"))("git and its files say the same, and git also what is not committed", () => {
  const git = Bun.which("git") ?? "git";
  const run = (...args: string[]) => {
    const who = ["-c", "user.name=Test", "-c", "user.email=test@example.org"];
    const { exitCode } = Bun.spawnSync([git, ...who, ...args], { cwd: root, stdin: "ignore", stdout: "ignore", stderr: "ignore" });
    expect([args[0], exitCode]).toEqual([args[0], 0]);
  };
  const described = () => sourceCommit({ root, environment: {}, git });
  expect(described()).toBe("");
  run("init", "--quiet");
  run("add", "package.json");
  run("commit", "--quiet", "--message=first");
  expect(described()).toMatch(/^[0-9a-f]{12}$/);
  expect(found()).toBe(described());
  run("pack-refs", "--all");
  expect(found()).toBe(described());
  write("package.json", '{ "name": "changed" }');
  expect(described()).toBe(`${found()}-dirty`);
});
