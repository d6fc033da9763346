import { expect, test } from "bun:test";
import { runCommand } from "./support/cli.ts";

const UID = "0123456789abcdef";

interface Removal {
  state: "draining" | "drained";
  left: number;
}

/** A lookup server that tells one broker, [::1]:4151, with each of some removals in turn, and then with the last one. */
function fakeLookup(removals: readonly (Removal | null)[]) {
  const asked: string[] = [];
  let at = 0;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request) => {
      const { pathname, search } = new URL(request.url);
      if (request.method === "POST") {
        asked.push(pathname + search);
        return Response.json({ uid: UID });
      }
      const removal = removals[Math.min(at++, removals.length - 1)] ?? null;
      asked.push(removal === null ? "no removal" : `${removal.left} left`);
      const told = removal === null ? null : { ...removal, partitions: 3, problem: "" };
      return Response.json({ brokers: [{ uid: UID, tcp: "[::1]:4150", http: "[::1]:4151", removal: told }] });
    },
  });
  return {
    server,
    asked,
    removeNode: (node: string) => runCommand({}, ["cluster", "remove-node", node, "--wait", `--lookup=${server.url}`]),
  };
}

test("remove-node --wait ends when the broker has nothing left, however it was named and however late the removal is told", async () => {
  const { server, asked, removeNode } = fakeLookup([null, null, { state: "draining", left: 2 }, { state: "drained", left: 0 }]);
  const outcome = await removeNode("::1");
  expect(outcome).toEqual({ code: 0, stdout: "::1 has nothing left and can be taken away\n", stderr: "" });
  expect(asked).toEqual(["/cluster/remove-node?node=%3A%3A1", "no removal", "no removal", "2 left", "0 left"]);
  await server.stop(true);
});

test("remove-node --wait says when the removal is taken back", async () => {
  const { server, removeNode } = fakeLookup([{ state: "draining", left: 2 }, null]);
  expect(await removeNode("0123")).toEqual({ code: 1, stdout: "the removal of 0123 was taken back\n", stderr: "" });
  await server.stop(true);
});
