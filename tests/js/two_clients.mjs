// Two clients in one session, one over each transport; the second one joins twice. Arguments: address.
import { caller, post, say } from "./clients.mjs";

const { sessionId } = await post("create", {});
const [one, other] = [await caller("websocket"), await caller("polling")];
await one.ask("join-session", sessionId);
await other.ask("join-session", { sessionId });
await other.ask("join-session", { sessionId });
await one.ask("send-query", { sessionId, query: "hi" });
await Promise.all([one.ended(), other.ended()]);
say("one", one.all("agent-event"));
say("other", other.all("agent-event"));
one.socket.close();
other.socket.close();
