import type { Operation, OperationGroup } from "./operation.ts";
import { needs, takes, textAnswer } from "./operation.ts";
import { ANYTHING, INTEGER, mapOf, object, type Schema, STRING } from "./schema.ts";

// What the servers have alike.

/** The name of a topic or channel. */
export const NAME: Schema = { type: "string", minLength: 1, maxLength: 64, pattern: "^[.a-zA-Z0-9_-]+(#ephemeral)?$" };

/** A document, bare or in the envelope of Youzan's servers (src/http/server/negotiated.ts). */
export function eitherForm(document: Schema): Schema {
  return { anyOf: [document, object({ status_code: INTEGER, status_txt: STRING, data: document })] };
}

export const DESCRIPTION_GROUP: OperationGroup = {
  name: "description",
  description: "What is written here, made of the server's table of calls.",
  operations: {
    "GET /openapi.json": {
      summary: "This description, as OpenAPI 3.1",
      answer: { description: "The document", contents: { "application/json": mapOf(ANYTHING) } },
    },
    "GET /docs": {
      summary: "This description, as a page",
      answer: { description: "A page without scripts", contents: { "text/html": { type: "string" } } },
    },
  },
};

const NOT_RECORDED: Operation = {
  summary: "Answered for Go's tools; there is nothing of this kind here",
  answer: textAnswer("A line that says so"),
};

/** The calls of src/http/server/debug.ts. They are there with `--http-debug`, which is the default. */
export const DEBUG_GROUP: OperationGroup = {
  name: "debug",
  description: "For the developers of servers. `--http-debug=false` takes these calls away.",
  operations: {
    "GET /debug/pprof/": { summary: "Overview of these calls", answer: textAnswer("A list") },
    "GET /debug/pprof": { summary: "Overview of these calls", answer: textAnswer("A list") },
    "GET /debug/pprof/cmdline": {
      summary: "The command line of the process",
      answer: textAnswer("Its words, with zero bytes between them"),
    },
    "GET /debug/pprof/profile": {
      summary: "A CPU profile of the coming seconds",
      parameters: [
        takes("seconds", "For how long. What is no positive whole number counts as 30.", { ...INTEGER, minimum: 1, maximum: 100 }, 10),
      ],
      answer: { description: "A .cpuprofile", contents: { "application/json": mapOf(ANYTHING) } },
      otherAnswers: { 400: textAnswer("More than 100 seconds were asked for."), 500: textAnswer("Another profile is being made.") },
    },
    "GET /debug/pprof/heap": {
      summary: "A snapshot of the memory",
      details: "No other request is served while it is made. It contains the strings in memory.",
      answer: { description: "A .heapsnapshot", contents: { "application/json": mapOf(ANYTHING) } },
    },
    "GET /debug/pprof/goroutine": NOT_RECORDED,
    "GET /debug/pprof/threadcreate": NOT_RECORDED,
    "GET /debug/pprof/block": NOT_RECORDED,
    "GET /debug/pprof/symbol": NOT_RECORDED,
    "POST /debug/pprof/symbol": NOT_RECORDED,
    "PUT /debug/setblockrate": {
      summary: "Accepted without effect",
      parameters: [needs("rate", "Go's rate of samples", INTEGER, 1)],
      answer: textAnswer("A line that says so"),
      otherAnswers: { 400: textAnswer("The rate is no whole number.") },
    },
    "POST /debug/freememory": { summary: "Run the garbage collector", answer: textAnswer("Done", "OK") },
  },
};
