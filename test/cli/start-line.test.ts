import { expect, test } from "bun:test";
import { adminFlags } from "../../src/cli/admin-flags.ts";
import { parseFlags } from "../../src/cli/flags.ts";
import { lookupFlags } from "../../src/cli/lookup-flags.ts";
import { startLine } from "../../src/cli/start-line.ts";
import { defaultOptions } from "../support/in-process.ts";

test("the start line names the mode, the data path as an absolute one, the durability and the addresses of what runs", () => {
  const lookup = parseFlags(lookupFlags("host"), ["-http-address=:1"]).options;
  expect(startLine({ lookup })).toBe("mode lookup: lookup server on TCP 0.0.0.0:4160, HTTP :1");
  const broker = defaultOptions({ dataPath: "", tcpAddress: "/run/tcp.sock", durability: "fsync" });
  expect(startLine({ broker })).toBe(`mode broker: data path ${process.cwd()}; durability fsync; broker on TCP /run/tcp.sock`);
  const admin = parseFlags(adminFlags(), ["-http-address=:4"]).options;
  expect(startLine({ admin })).toBe("mode admin: console on HTTP :4");
  const withHttps = parseFlags(adminFlags(), ["-http-address=", "-tls-cert=cert.pem"]).options;
  expect(startLine({ admin: withHttps })).toBe("mode admin: console on HTTPS 0.0.0.0:4172");
  const secure = defaultOptions({ dataPath: "x", httpAddress: ":2", httpsAddress: ":3", tlsCert: "cert.pem" });
  expect(startLine({ broker: secure, lookup })).toBe(
    `mode all: data path ${process.cwd()}/x; durability write; broker on TCP 127.0.0.1:0, HTTP :2, HTTPS :3; lookup server on TCP 0.0.0.0:4160, HTTP :1`,
  );
  expect(startLine({ broker, lookup, admin })).toEndWith("; lookup server on TCP 0.0.0.0:4160, HTTP :1; console on HTTP :4");
});
