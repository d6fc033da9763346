import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { StartError } from "../../../src/base/start-error.ts";
import { type EtcdSettings, readEtcdOptions } from "../../../src/cluster/etcd/etcd-settings.ts";
import { certificate, clientTls } from "../../support/certs/certs.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";

const NONE: EtcdSettings = { etcdEndpoints: ["10.0.0.1:2379"], etcdCa: "", etcdCert: "", etcdKey: "", etcdUser: "", etcdPasswordFile: "" };

function endpoints(...etcdEndpoints: string[]): readonly string[] {
  return readEtcdOptions({ ...NONE, etcdEndpoints }).endpoints;
}

test("addresses of etcd may have a scheme, and each counts once", () => {
  expect(endpoints("a:1", " http://a:1/", "https://b:2", "[::1]:3")).toEqual(["http://a:1", "https://b:2", "http://[::1]:3"]);
  expect(readEtcdOptions({ ...NONE, etcdCa: certificate("ca.pem") }).endpoints).toEqual(["https://10.0.0.1:2379"]);
  for (const bad of ["", "a", "http://", "ftp://a:1", "a:1/path", "a:99999"])
    expect(() => endpoints(bad)).toThrow(
      new StartError(`invalid address "${bad}" in -etcd-endpoints: give it as host:port or https://host:port`),
    );
  expect(() => endpoints()).toThrow("-etcd-endpoints is empty");
});

test("certificates and the password are read from files", () => {
  const folder = temporaryFolder();
  const password = `${folder}/password`;
  writeFileSync(password, " secret \n");
  const { ca, cert = "", key = "" } = clientTls("client");
  const files = { etcdCa: certificate("ca.pem"), etcdCert: certificate("client.pem"), etcdKey: certificate("client.key") };
  expect(readEtcdOptions({ ...NONE, ...files, etcdUser: "bunsq", etcdPasswordFile: password })).toMatchObject({
    tls: { ca, cert, key },
    user: { name: "bunsq", password: " secret " },
  });
  removeFolder(folder);
});

test("what does not fit together or cannot be read is refused", () => {
  const refused = (changes: Partial<EtcdSettings>) => expect(() => readEtcdOptions({ ...NONE, ...changes }));
  refused({ etcdCert: certificate("client.pem") }).toThrow("give both -etcd-cert and -etcd-key");
  refused({ etcdUser: "bunsq" }).toThrow("give both -etcd-user and -etcd-password-file");
  refused({ etcdUser: "bunsq", etcdPasswordFile: "/nowhere" }).toThrow("-etcd-password-file /nowhere");
  refused({ etcdCa: "/nowhere" }).toThrow("-etcd-ca /nowhere");
  refused({ etcdCa: certificate("ca.pem"), etcdEndpoints: ["http://a:1"] }).toThrow("use https://");
});
