import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { certificate, clientTls } from "../support/certs/certs.ts";
import { removeFolder, temporaryFolder } from "../support/in-process.ts";
import { testUnless } from "../support/needs.ts";
import { cleanEnvironment, MAIN, type Running, startProcess, until } from "../support/server.ts";

// Whole processes with a console that serves HTTPS.

const TLS = { tls: clientTls() };
const CERT = certificate("server.pem");
const KEY = certificate("server.key");
const TOKEN = "secret";
const folder = temporaryFolder();
const accessFile = join(folder, "access.toml");
writeFileSync(
  accessFile,
  `[tokens.anna]\nsha256 = "${new Bun.CryptoHasher("sha256").update(TOKEN).digest("hex")}"\nroles = { "*" = "admin" }\n`,
);
afterAll(() => removeFolder(folder));

const command = (...args: string[]) => [process.execPath, MAIN, ...args];
/** Where the console listens, as its log says. */
const portOf = ({ log }: Running, scheme: "HTTP" | "HTTPS") =>
  Number(new RegExp(`\\[nsqadmin\\] .* ${scheme}: listening on \\S*:(\\d+)\\n`).exec(log())?.[1] ?? 0);
const logIn = (origin: string) =>
  fetch(`${origin}/api/v1/session`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Origin: origin },
    body: JSON.stringify({ token: TOKEN }),
    ...TLS,
  });

test("a console serves both, and a browser's login over HTTPS is for HTTPS only", async () => {
  const flags = ["--mode=admin", "--http-address=127.0.0.1:0", "--https-address=127.0.0.1:0", `--tls-cert=${CERT}`, `--tls-key=${KEY}`];
  const program = command(...flags, "--nsqd-http-address=127.0.0.1:1", `--access-file=${accessFile}`);
  const running = await startProcess("bunsq", program, ["HTTP", "HTTPS"]);
  const plain = `http://127.0.0.1:${portOf(running, "HTTP")}`;
  const secure = `https://127.0.0.1:${portOf(running, "HTTPS")}`;
  expect(running.log()).toContain("mode admin: console on HTTP 127.0.0.1:0, HTTPS 127.0.0.1:0\n");
  for (const [origin, strict] of [
    [plain, null],
    [secure, "max-age=31536000"],
  ] as const) {
    const response = await fetch(`${origin}/`, TLS);
    expect([response.status, response.headers.get("strict-transport-security")]).toEqual([200, strict]);
    const login = await logIn(origin);
    expect(login.status).toBe(200);
    expect((login.headers.get("set-cookie") ?? "").split("; ").includes("Secure")).toBe(strict !== null);
    const config = async (name: string) => {
      const response = await fetch(`${origin}/config/${name}`, { headers: { Authorization: `Bearer ${TOKEN}` }, ...TLS });
      return response.text();
    };
    expect(await Promise.all(["https_address", "tls_cert", "tls_key", "hsts"].map(config))).toEqual(["127.0.0.1:0", CERT, KEY, "true"]);
  }
  // The certificate is checked by clients.
  await expect(fetch(`${secure}/ping`)).rejects.toThrow(/certificate/);
  expect(await running.stop()).toBe(0);
  expect(running.log()).toMatch(/HTTPS: closing/);
  expect(running.log()).not.toMatch(/ (ERROR|FATAL): /);
}, 30_000);

describe("beside a broker", () => {
  const listeners = ["tcp-address", "http-address", "https-address", "lookup-tcp-address", "lookup-http-address"];
  const base = [`--data-path=${folder}`, "--broadcast-address=127.0.0.1", ...listeners.map((flag) => `--${flag}=127.0.0.1:0`)];
  const start = async (...args: string[]) => {
    const running = await startProcess("bunsq", command(...base, ...args), []);
    await until("it is up or has ended", () => / broker up: /.test(running.log()) || running.process.exitCode !== null);
    return running;
  };

  test("flags have the prefix, and the broker's own certificate is the broker's alone", async () => {
    const pair = [`--admin-tls-cert=${CERT}`, `--admin-tls-key=${KEY}`];
    const running = await start("--admin-http-address=", "--admin-https-address=127.0.0.1:0", ...pair);
    expect(running.log()).toContain("; console on HTTPS 127.0.0.1:0\n");
    const secure = `https://127.0.0.1:${portOf(running, "HTTPS")}`;
    await until("the console finds the broker", async () => (await (await fetch(`${secure}/api/nodes`, TLS)).text()).includes("http_port"));
    expect(running.log()).toMatch(/broker up: TCP \S+, HTTP \S+\n/);
    expect(await running.stop()).toBe(0);

    const broker = await start("--admin-http-address=127.0.0.1:0", `--tls-cert=${CERT}`, `--tls-key=${KEY}`);
    expect(broker.log()).toMatch(/broker up: TCP \S+, HTTP \S+, HTTPS \S+\n/);
    expect([portOf(broker, "HTTP") > 0, portOf(broker, "HTTPS")]).toEqual([true, 0]);
    expect(await broker.stop()).toBe(0);
  }, 60_000);

  test("the config file has the keys in its section", async () => {
    const config = join(folder, "bunsq.toml");
    const section = `http_address = "127.0.0.1:0"\nhttps_address = "127.0.0.1:0"\ntls_cert = "${CERT}"\ntls_key = "${KEY}"\nhsts = false\n`;
    writeFileSync(config, `[admin]\n${section}`);
    const running = await start(`--config=${config}`);
    const response = await fetch(`https://127.0.0.1:${portOf(running, "HTTPS")}/ping`, TLS);
    expect([response.status, response.headers.get("strict-transport-security")]).toEqual([200, null]);
    expect(await running.stop()).toBe(0);
  }, 30_000);
});

describe("a wrong setting ends the start with 1 and says which:", () => {
  const ended = (...args: string[]) => {
    const { exitCode, stderr } = Bun.spawnSync(command(...args), { stdin: "ignore", stderr: "pipe", env: cleanEnvironment() });
    return [exitCode, /FATAL: (.*)\n/.exec(stderr.toString())?.[1]];
  };
  const alone = (...args: string[]) =>
    ended("--mode=admin", "--http-address=127.0.0.1:0", "--https-address=127.0.0.1:0", "--nsqd-http-address=127.0.0.1:1", ...args);

  test("half a pair", () => {
    const both = "failed to build TLS config: -tls-key is missing; give both -tls-cert and -tls-key";
    expect(alone(`--tls-cert=${CERT}`)).toEqual([1, both]);
    expect(alone(`--tls-key=${KEY}`)).toEqual([1, both.replace("-tls-key is", "-tls-cert is")]);
  }, 30_000);

  test("a file that is not there, is none, or does not fit", () => {
    expect(alone(`--tls-cert=${folder}/no.pem`, `--tls-key=${KEY}`)).toEqual([1, expect.stringMatching(/-tls-cert \S+no\.pem: ENOENT/)]);
    expect(alone(`--tls-cert=${CERT}`, `--tls-key=${CERT}`)).toEqual([1, expect.stringContaining("has no key in PEM format")]);
    const stranger = certificate("client.key");
    expect(alone(`--tls-cert=${CERT}`, `--tls-key=${stranger}`)).toEqual([1, expect.stringContaining("does not match the certificate")]);
  }, 30_000);

  testUnless(process.getuid?.() === 0 ? "root may read everything" : undefined)(
    "a key that this user may not read",
    () => {
      const secret = join(folder, "secret.key");
      copyFileSync(KEY, secret);
      chmodSync(secret, 0);
      expect(alone(`--tls-cert=${CERT}`, `--tls-key=${secret}`)).toEqual([1, expect.stringMatching(/-tls-key \S+secret\.key: EACCES/)]);
    },
    30_000,
  );

  test("no address at all, and an address that is none", () => {
    const none = "no address to listen on: give -http-address, or -https-address with -tls-cert and -tls-key";
    expect(alone("--http-address=")).toEqual([1, none]);
    const pair = [`--tls-cert=${CERT}`, `--tls-key=${KEY}`];
    expect(alone(...pair, "--http-address=", "--https-address=")).toEqual([1, none]);
    expect(alone(...pair, "--https-address=/run/x.sock")).toEqual([
      1,
      expect.stringContaining('-https-address: invalid address "/run/x.sock"'),
    ]);
  }, 30_000);

  test("with the prefix beside a broker, and how to do without the console", () => {
    const flags = ["tcp-address", "http-address", "lookup-tcp-address", "lookup-http-address", "admin-http-address"];
    const addresses = flags.map((flag) => `--${flag}=127.0.0.1:0`);
    expect(ended(`--data-path=${folder}`, ...addresses, `--admin-tls-cert=${CERT}`)).toEqual([
      1,
      "console: failed to build TLS config: -admin-tls-key is missing; give both -admin-tls-cert and -admin-tls-key. To do without the console: --console=false",
    ]);
  }, 30_000);
});
