// The flow of the classic client: create, join, ask, listen, abort, status, leave. Arguments: address, transport.
import { caller, options, post, say, until } from "./clients.mjs";

const { sessionId } = await post("create", {});
const client = await caller(options[0]);
say("transport", client.socket.io.engine.transport.name);
await client.ask("ping");
say("join", await client.ask("join-session", sessionId));
say("ask", await client.ask("send-query", { sessionId, query: "hi" }));
await client.ended();
say("kinds", client.all("agent-event").map((each) => each.type));
say("texts", client.all("agent-event").filter((each) => each.data.text).map((each) => each.data.text));
say("seqs", client.events().filter((each) => each.seq).map((each) => each.seq));
await until(() => client.all("agent-status").length >= 3, "agent-status");
say("statuses", client.all("agent-status"));

say("idle abort", await client.ask("abort-query", { sessionId }));
client.socket.emit("send-query", { sessionId, query: "wait" });
await until(() => client.events().some((each) => each.type === "agent_run_start" && each.seq > 4), "the second run");
client.socket.emit("abort-query", { sessionId });
await client.ended(2);
await until(() => client.all("abort-result").length === 2, "abort-result");
say("aborts", client.all("abort-result"));
say("last kinds", client.all("agent-event").slice(-3).map((each) => each.type));
client.socket.emit("get-server-status");
await until(() => client.all("server-status").length, "server-status");
say("server", client.all("server-status")[0]);

const count = client.heard.length;
say("leave", await client.ask("leave-session", sessionId));
const other = await caller(options[0]);
say("resume", await other.ask("join-session", { sessionId, after: 2 }));
await until(() => other.events().filter((each) => each.type === "agent_run_end").length >= 2, "the replay");
say("resumed", other.events().map((each) => each.seq));
say("after leaving", client.heard.length - count);
client.socket.close();
other.socket.close();
