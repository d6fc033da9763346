import type { Request } from "./consoles.ts";

/**
 * A request that bunsq answers otherwise than nsqadmin on purpose. The name and the reason are a row of the table in
 * docs/compatibility.md, section nsqadmin.
 */
export interface Difference {
  name: string;
  why: string;
  /** What is different at one request; without it a test of its own shows it. */
  seen?: { request: Request; over?: "lookups" | "brokers"; nsqadmin: Expected; bunsq: Expected };
}

interface Expected {
  status: number;
  /** The member `message`, or a part of it. */
  message: string;
}

const NOTHING = "the answer says what is so";

export const DIFFERENCES: Difference[] = [
  {
    name: "`/api/topics/:topic` of several brokers",
    why: "nsqadmin adds all brokers' channels to the first broker's, which then shows the sums, and is missing in the channel's `nodes`",
  },
  { name: "`min` of percentiles of several brokers", why: "in nsqadmin it is the last broker's value" },
  {
    name: "A topic that no broker has, or only such as are tombstoned for it",
    why: NOTHING,
    seen: {
      request: { path: "/api/topics/nope" },
      nsqadmin: { status: 502, message: "UPSTREAM_ERROR: failed to query any nsqlookupd: got response 404" },
      bunsq: { status: 404, message: "TOPIC_NOT_FOUND" },
    },
  },
  {
    name: "A channel that no broker has",
    why: NOTHING,
    seen: {
      request: { path: "/api/topics/orders/nope" },
      nsqadmin: { status: 200, message: "" },
      bunsq: { status: 404, message: "CHANNEL_NOT_FOUND" },
    },
  },
  {
    name: "An action on a topic or channel that no broker has",
    why: "200 or 502 says nothing, and nsqadmin sends a notification as if it were done",
    seen: {
      request: { method: "POST", path: "/api/topics/orders/nope", body: '{"action":"pause"}' },
      nsqadmin: { status: 200, message: "WARNING: got response 404 Not Found" },
      bunsq: { status: 404, message: "CHANNEL_NOT_FOUND" },
    },
  },
  {
    name: "An action that fails at each server that it concerns",
    why: "nothing was done, and the status says so; nsqadmin answers 200 with a warning, and sends a notification as if it were done",
  },
  {
    name: "Tombstoning a broker that is down",
    why: "lookup servers hide it from then on, so it is done, with a warning that the topic could not be deleted there; nsqadmin does as much, and answers 502",
  },
  {
    name: "Deleting what nobody has",
    why: "nothing was deleted",
    seen: {
      request: { method: "DELETE", path: "/api/topics/nope" },
      over: "brokers",
      nsqadmin: { status: 200, message: "" },
      bunsq: { status: 404, message: "TOPIC_NOT_FOUND" },
    },
  },
  {
    name: "Creating a topic or channel with `--nsqd-http-address`",
    why: "nsqadmin creates nothing, and answers 200 for a topic; here the brokers create it",
  },
  {
    name: "Tombstoning a broker that is not listed",
    why: "nsqadmin sends requests to whatever host and port the path names",
    seen: {
      request: { method: "DELETE", path: "/api/nodes/127.0.0.1:1", body: '{"topic":"orders"}' },
      nsqadmin: { status: 502, message: "UPSTREAM_ERROR: failed to query any nsqd" },
      bunsq: { status: 404, message: "NODE_NOT_FOUND" },
    },
  },
  {
    name: "A lookup server that does not know a topic which another one knows",
    why: "that is no failure of a server; nsqadmin warns of it, also when a channel is deleted",
  },
  {
    name: "The text of a failed request to a broker or lookup server",
    why: "it begins with the URL, so that one sees which server has refused; nsqadmin does so only if there is no answer",
  },
  { name: "`/api/counter` without brokers", why: "an empty cluster is no failure; nsqadmin answers 502" },
  {
    name: "A body that is not the JSON that a call wants",
    why: "the status is the same, but JavaScript's parser does not say what Go's does",
    seen: {
      request: { method: "POST", path: "/api/topics", body: "{topic}" },
      nsqadmin: { status: 400, message: "invalid character 't' looking for beginning of object key string" },
      bunsq: { status: 400, message: "the body is not a JSON object with the members of this call" },
    },
  },
  {
    name: "A query that is not well-formed",
    why: "the code is that of all other calls",
    seen: {
      request: { path: "/api/topics?inactive=%zz" },
      nsqadmin: { status: 400, message: 'invalid URL escape "%zz"' },
      bunsq: { status: 400, message: "INVALID_REQUEST" },
    },
  },
  {
    name: "A long body",
    why: "the longest that means something has 200 bytes; nsqadmin reads any",
    seen: {
      request: { method: "POST", path: "/api/topics", body: `{"topic":"${"x".repeat(70_000)}"}` },
      nsqadmin: { status: 400, message: "INVALID_TOPIC" },
      bunsq: { status: 413, message: "BODY_TOO_LARGE" },
    },
  },
  {
    name: "A request that changes something, sent by a browser for a page of another site",
    why: "any page could pause or empty a topic with the rights of who looks at it",
    seen: {
      request: {
        method: "POST",
        path: "/api/topics/orders",
        body: '{"action":"unpause"}',
        headers: { Origin: "https://elsewhere.example" },
      },
      nsqadmin: { status: 200, message: "" },
      bunsq: { status: 403, message: "CROSS_SITE_REQUEST" },
    },
  },
  {
    name: "A form that a browser sends, even of the same site",
    why: "a browser sends forms without asking; scripts may go on with `curl -d`, and pages send JSON",
    seen: {
      request: {
        method: "POST",
        path: "/api/topics/orders",
        body: '{"action":"unpause"}',
        headers: { "Content-Type": "text/plain", "User-Agent": "Mozilla/5.0" },
      },
      nsqadmin: { status: 200, message: "" },
      bunsq: { status: 415, message: "INVALID_CONTENT_TYPE" },
    },
  },
  {
    name: "The notification endpoint is down or fails",
    why: "nsqadmin ends with a nil pointer; here up to 1,000 notifications wait and are sent again, later and later. Only actions that were carried out are sent",
  },
  {
    name: "`user` of a notification",
    why: "the user of `--acl-http-header`, else of basic authentication; nsqadmin sends the latter only, which is empty behind most proxies",
  },
  {
    name: "Several changes at once",
    why: "all brokers are asked at the same time, at most 16 requests in all; nsqadmin asks one after the other",
  },
  {
    name: "`/render`",
    why: "the base path is not sent to graphite, nor are cookies and other headers that are the console's; a failure is told in JSON",
  },
  {
    name: "A host name that cannot be resolved at the start",
    why: "nsqadmin does not start; here that server shows as down until the name can be resolved",
  },
  { name: "Compression", why: "`/api` is answered without, which is less work where console and browser are near each other" },
];
