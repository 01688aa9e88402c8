// Every event with payloads that make no sense; each has to be answered. Arguments: address, transport.
import { caller, options, post, say } from "./clients.mjs";

function nested(depth) {
  let value = "x";
  for (let level = 0; level < depth; level++) value = [value];
  return value;
}

const payloads = [
  [], [null], [7], [1e400], [true], [""], ["../../etc/passwd"], ["x".repeat(100_000)], [[]], [{}], [[[]]],
  [{ sessionId: null }], [{ sessionId: ["a"] }], [{ sessionId: { $ne: 1 }, query: {} }],
  [{ sessionId: "a", query: 7, after: "x" }], [{ sessionId: "a", query: "x", after: -1 }],
  [{ sessionId: "a", query: "y".repeat(500_000) }], [Buffer.from([0, 255])], [{ sessionId: Buffer.from("a"), query: "x" }],
  [nested(500)], [nested(3000)], ["\u0000\ud800"], [{ __proto__: null, constructor: "x" }], [1, 2, 3],
];

const { sessionId } = await post("create", {});
const client = await caller(options[0]);
for (const event of ["join-session", "send-query", "abort-query", "leave-session", "ping", "get-server-status", "no-such-event"]) {
  for (const [index, payload] of payloads.entries()) {
    const errors = client.all("error").length;
    const answer = await Promise.race([
      client.ask(event, ...payload).catch((error) => String(error)),
      new Promise((resolve) => client.socket.once("error", () => setTimeout(() => resolve("an error event"), 50))),
    ]);
    say(event, { index, answer, errors: client.all("error").slice(errors) });
  }
}
say("connected", client.socket.connected);
say("works", await client.ask("join-session", sessionId));
client.socket.close();

const large = await caller(options[0]);
const left = new Promise((resolve) => large.socket.on("disconnect", resolve));
large.socket.emit("send-query", { sessionId, query: "z".repeat(3_000_000) });
say("too large", await left);
