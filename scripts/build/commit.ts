import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

/** As much of a commit as the version shows. */
const LETTERS = 12;
const COMMIT = /^[0-9a-f]{7,64}$/;
/** Packagers who build from a tarball say in it which commit that is. */
const VARIABLE = "BUNSQ_BUILD_COMMIT";

/** Where the commit is looked for. */
export interface CommitSources {
  /** The folder of the source. */
  root: string;
  environment: Readonly<Record<string, string | undefined>>;
  /** The program git; undefined if it is not installed. */
  git: string | undefined;
}

/**
 * The commit of the source: what BUNSQ_BUILD_COMMIT says, else what git says, with `-dirty` if files differ from it, else what
 * the files of git or gitHead in package.json say. Empty if nothing does.
 *
 * @throws Error if BUNSQ_BUILD_COMMIT is no commit
 */
export function sourceCommit({ root, environment, git }: CommitSources): string {
  const given = environment[VARIABLE] ?? "";
  if (given !== "") {
    if (!COMMIT.test(given.replace(/-dirty$/, ""))) throw new Error(`${VARIABLE}=${given} is no commit`);
    return given.endsWith("-dirty") ? `${given.slice(0, LETTERS)}-dirty` : given.slice(0, LETTERS);
  }
  return (git === undefined ? undefined : describe(git, root)) ?? commitInFiles(root) ?? gitHead(root) ?? "";
}

/** The commit of this source. */
export function commit(): string {
  return sourceCommit({ root: join(import.meta.dir, "../.."), environment: process.env, git: Bun.which("git") ?? undefined });
}

function describe(git: string, root: string): string | undefined {
  // Git also answers in a folder that happens to be somewhere within another clone.
  if (!existsSync(join(root, ".git"))) return undefined;
  const command = [git, "describe", "--always", "--dirty", "--exclude=*", `--abbrev=${LETTERS}`];
  const { exitCode, stdout } = Bun.spawnSync(command, { cwd: root, stderr: "ignore" });
  return exitCode === 0 ? stdout.toString().trim() : undefined;
}

/** What is checked out, from the files of git. Whether other files differ from it is not known. */
function commitInFiles(root: string): string | undefined {
  const pointer = contentOf(root, ".git");
  // A worktree has a file that says where its folder is; there, `commondir` says where the clone's is.
  const folder = pointer === undefined ? join(root, ".git") : resolve(root, pointer.replace(/^gitdir: /, ""));
  const head = contentOf(folder, "HEAD");
  if (head === undefined) return undefined;
  const [, ref] = /^ref: (refs\/[^\n]+)$/.exec(head) ?? [];
  if (ref === undefined) return asCommit(head);
  const shared = resolve(folder, contentOf(folder, "commondir") ?? "");
  const packed = contentOf(shared, "packed-refs") ?? "";
  const line = packed.split("\n").find((line) => line.endsWith(` ${ref}`));
  return asCommit(contentOf(folder, ref) ?? contentOf(shared, ref) ?? line?.split(" ", 1)[0]);
}

/** The commit that a package was published from. */
function gitHead(root: string): string | undefined {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { gitHead?: unknown };
  return typeof manifest.gitHead === "string" ? asCommit(manifest.gitHead) : undefined;
}

function asCommit(text: string | undefined): string | undefined {
  return text !== undefined && COMMIT.test(text) ? text.slice(0, LETTERS) : undefined;
}

/** The text of a file; undefined if there is none. */
function contentOf(folder: string, path: string): string | undefined {
  try {
    return readFileSync(join(folder, path), "utf8").trim();
  } catch {
    return undefined;
  }
}
