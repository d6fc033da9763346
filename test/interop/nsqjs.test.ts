import { join } from "node:path";
import { describeClient } from "./support/suite.ts";

// Applications run nsqjs under Node; where there is none, Bun runs it.
describeClient("nsqjs", { name: "nsqjs", command: [Bun.which("node") ?? process.execPath, join(import.meta.dir, "nsqjs/client.mjs")] });
