import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { AuthServer, granted } from "../../support/auth-server.ts";
import { certificate, TLS_FLAGS } from "../../support/certs/certs.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { type Server, startServer, until } from "../../support/server.ts";
import { commandLine, runCommand } from "./support/cli.ts";

// Commands at a broker that wants TLS with a certificate of each client, and a secret.

const SECRET = "open sesame";
const CA = `--tls-root-ca-file=${certificate("ca.pem")}`;
const CERT = [`--tls-cert=${certificate("client.pem")}`, `--tls-key=${certificate("client.key")}`];
const TLS = [CA, ...CERT];
const AUTH = `--auth-secret=${SECRET}`;

let auth: AuthServer;
let server: Server;
let https: string;
let folder: string;

const run = (...args: string[]) => runCommand({ BUNSQ_BROKER: https }, args);
const httpsPort = ({ log }: Server) => Number(/HTTPS: listening on \S*:(\d+)/.exec(log())?.[1]);

beforeAll(async () => {
  folder = temporaryFolder();
  auth = new AuthServer(({ fields }) => granted(fields.secret === SECRET ? undefined : []));
  const args = [`--tls-root-ca-file=${certificate("ca.pem")}`, "--tls-client-auth-policy=require-verify", "--tls-required"];
  server = await startServer({ args: [...TLS_FLAGS, ...args, `--auth-http-address=${auth.address}`] });
  await until("HTTPS is up", () => httpsPort(server) > 0);
  https = `https://127.0.0.1:${httpsPort(server)}`;
});
afterAll(async () => {
  await server.stop();
  await auth[Symbol.asyncDispose]();
  removeFolder(folder);
});

describe("with the certificate and the secret", () => {
  test("messages are published and received, and the auth server is asked", async () => {
    const where = `127.0.0.1:${server.tcpPort}`;
    expect(await run("pub", "sent", "hello", ...TLS, AUTH)).toEqual({
      code: 0,
      stdout: `published 1 message to sent at ${where}\n`,
      stderr: "",
    });
    expect(await run("sub", "sent", "all", "--count=1", ...TLS, AUTH)).toEqual({ code: 0, stdout: "hello\n", stderr: "" });
    expect(auth.questions.at(-1)?.fields).toMatchObject({ secret: SECRET, tls: "true", common_name: "bunsq test client" });
    const measured = await run("bench", "--messages=100", "--rounds=10", "--json", ...TLS, AUTH);
    expect(JSON.parse(measured.stdout)).toMatchObject({ published: { messages: 100 }, consumed: { messages: 100 } });
  }, 60_000);

  test("brokers are looked at and changed over HTTPS", async () => {
    expect(await run("topic", "create", "made", ...TLS)).toMatchObject({ code: 0, stderr: "" });
    expect((await run("topics", "made", "--json", ...TLS)).stdout).toContain('"topic":"made"');
  }, 60_000);

  test("variables say the same as the flags, with a prefix where a broker has settings of that name", async () => {
    const variables = {
      BUNSQ_BROKER: https,
      BUNSQ_AUTH_SECRET: SECRET,
      BUNSQ_CLIENT_TLS: "true",
      BUNSQ_CLIENT_TLS_INSECURE: "false",
      BUNSQ_CLIENT_TLS_ROOT_CA_FILE: certificate("ca.pem"),
      BUNSQ_CLIENT_TLS_CERT: certificate("client.pem"),
      BUNSQ_CLIENT_TLS_KEY: certificate("client.key"),
      // The broker's own, which would not do.
      BUNSQ_TLS_ROOT_CA_FILE: certificate("stranger.pem"),
    };
    expect(await runCommand(variables, ["pub", "varied", "x"])).toMatchObject({ code: 0, stderr: "" });
    const other = await runCommand({ ...variables, BUNSQ_AUTH_SECRET: "another" }, ["pub", "varied", "x", AUTH]);
    expect(other).toMatchObject({ code: 0, stderr: "" });
    const wrong = await runCommand({ ...variables, BUNSQ_CLIENT_TLS: "perhaps" }, ["pub", "varied", "x"]);
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain('invalid value "perhaps" for BUNSQ_CLIENT_TLS: parse error: must be true or false');
  }, 60_000);

  test("any certificate of the broker is accepted only if that is asked for", async () => {
    const stranger = `--tls-root-ca-file=${certificate("stranger.pem")}`;
    expect((await run("pub", "insecure", "x", "--tls-insecure", stranger, ...CERT, AUTH)).code).toBe(0);
  }, 60_000);
});

test("a lookup server behind HTTPS is asked with the certificate, by commands and by producers and consumers", async () => {
  const node = { broadcast_address: "127.0.0.1", tcp_port: server.tcpPort, http_port: server.httpPort };
  await using lookup = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    tls: { cert: Bun.file(certificate("server.pem")), key: Bun.file(certificate("server.key")) },
    fetch: () => Response.json({ channels: [], producers: [node] }),
  });
  const where = `--lookup=https://127.0.0.1:${lookup.port}`;
  expect(await runCommand({}, ["pub", "looked-up", "x", where, ...TLS, AUTH])).toMatchObject({ code: 0, stderr: "" });
  expect(await runCommand({}, ["sub", "looked-up", "c", "--count=1", where, ...TLS, AUTH])).toMatchObject({ code: 0, stdout: "x\n" });
  // The broker's own HTTP listener is found, which wants HTTPS.
  expect((await runCommand({}, ["topics", where, ...TLS])).stderr).toContain("403 TLS_REQUIRED");
  const unknown = await runCommand({}, ["sub", "looked-up", "c", where, "--tls", AUTH]);
  expect(unknown).toMatchObject({ code: 1, stderr: expect.stringContaining("certificate") });
}, 60_000);

describe("a command fails with 1 and says what is missing:", () => {
  const TLS_HINT = "\n--tls-root-ca-file takes the authorities that sign brokers' certificates";

  test("the secret", async () => {
    const lacking = await run("pub", "t", "x", ...TLS);
    expect(lacking.code).toBe(1);
    expect(lacking.stderr).toBe(
      `1 of 1 messages were not published: PUB at 127.0.0.1:${server.tcpPort}: E_AUTH_FIRST AUTH required before PUB
--auth-secret or BUNSQ_AUTH_SECRET takes the secret
`,
    );
    const sub = await run("sub", "t", "c", ...TLS);
    expect(sub.code).toBe(1);
    expect(sub.stderr).toContain("E_AUTH_FIRST AUTH required before SUB\n--auth-secret or BUNSQ_AUTH_SECRET takes the secret\n");
    expect(sub.stderr).toStartWith("bunsq sub: ");
    const bench = await run("bench", "--messages=10", ...TLS);
    expect(bench.code).toBe(1);
    expect(bench.stderr).toContain("E_AUTH_FIRST");
  }, 60_000);

  test("the right secret", async () => {
    for (const words of [["pub", "t", "x"], ["sub", "t", "c"], ["bench"]]) {
      const { code, stderr } = await run(...words, ...TLS, "--auth-secret=wrong");
      expect([words, code]).toEqual([words, 1]);
      expect(stderr).toContain("E_UNAUTHORIZED");
      expect(stderr).not.toContain("warning");
    }
  }, 60_000);

  test("a secret, while lines are still to come", async () => {
    const child = Bun.spawn(commandLine("pub", "t", "--lines", `--broker=${https}`, ...TLS, "--auth-secret=wrong"), {
      stdin: "pipe",
      stdout: "ignore",
      stderr: "pipe",
    });
    // Standard input stays open.
    expect(await child.exited).toBe(1);
    expect(await child.stderr.text()).toContain("E_UNAUTHORIZED");
  }, 60_000);

  test("TLS", async () => {
    const plain = await run("topics", `--broker=127.0.0.1:${server.httpPort}`);
    expect(plain).toMatchObject({ code: 1, stderr: expect.stringContaining("403 TLS_REQUIRED\n--broker=https://HOST:4152") });
    const pub = await run("pub", "t", "x", ...TLS, "--tls=false");
    expect(pub).toMatchObject({ code: 1, stderr: expect.stringContaining("(TLS required)\n--tls encrypts the connection\n") });
  }, 60_000);

  test("the authority and the certificate, over HTTPS", async () => {
    for (const flags of [[], [CA], [`--tls-root-ca-file=${certificate("stranger.pem")}`, ...CERT]]) {
      const { code, stderr } = await run("topics", ...flags);
      expect([flags, code]).toEqual([flags, 1]);
      expect(stderr).toContain(TLS_HINT);
    }
  }, 60_000);

  test("the authority and the certificate, over TCP", async () => {
    const policy = [`--tls-root-ca-file=${certificate("ca.pem")}`, "--tls-client-auth-policy=require-verify", "--tls-required=tcp-https"];
    await using broker = await startServer({ args: [...TLS_FLAGS, ...policy] });
    for (const flags of [["--tls"], [CA], [`--tls-root-ca-file=${certificate("stranger.pem")}`, ...CERT]]) {
      const { code, stderr } = await runCommand({}, ["pub", "t", "x", `--broker=127.0.0.1:${broker.httpPort}`, ...flags]);
      expect([flags, code]).toEqual([flags, 1]);
      expect(stderr).toContain(TLS_HINT);
    }
  }, 60_000);

  test("a file", async () => {
    const path = join(folder, "no.pem");
    const absent = await run("topics", `--tls-root-ca-file=${path}`);
    expect(absent).toEqual({ code: 1, stdout: "", stderr: `bunsq topics: cannot read ${path}: ENOENT\n` });
    writeFileSync(path, "no certificate");
    const empty = await run("pub", "t", "x", `--tls-root-ca-file=${path}`);
    expect(empty).toEqual({ code: 1, stdout: "", stderr: `bunsq pub: ${path} has no certificate in PEM format\n` });
    const half = await run("topics", CERT[0] as string);
    expect(half).toMatchObject({ code: 2, stderr: expect.stringContaining("--tls-cert and --tls-key go together") });
  }, 60_000);
});
