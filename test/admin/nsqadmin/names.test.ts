import { expect, test } from "bun:test";
import { startAdmin } from "../../../src/admin/server.ts";
import { adminFlags } from "../../../src/cli/admin-flags.ts";
import { parseFlags } from "../../../src/cli/flags.ts";
import { LineLogger } from "../../../src/cli/line-logger.ts";
import { WithHttp } from "../../support/with-http.ts";

test("a channel whose name no channel can have is not found, and no broker is blamed for it", async () => {
  await using broker = WithHttp.start({ broadcastAddress: "127.0.0.1" });
  const { options } = parseFlags(adminFlags(), ["-http-address=127.0.0.1:0", `-nsqd-http-address=127.0.0.1:${broker.http.port}`]);
  const admin = startAdmin(options, new LineLogger("fatal", ""));
  try {
    await broker.call("POST", "/topic/create?topic=orders");
    const url = `http://127.0.0.1:${admin.httpPort}/api/topics/orders/not%20valid`;
    for (const init of [{ method: "GET" }, { method: "POST", body: '{"action":"empty"}' }, { method: "DELETE" }]) {
      const response = await fetch(url, init);
      expect(`${init.method} ${response.status} ${await response.text()}`).toBe(`${init.method} 404 {"message":"CHANNEL_NOT_FOUND"}`);
    }
  } finally {
    await admin.stop();
  }
});
