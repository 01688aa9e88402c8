// What the scripts share: a Socket.IO client that notes what it is sent, and lines of JSON for the test that runs them.
import { io } from "socket.io-client";

export const [base, ...options] = process.argv.slice(2);

export function say(name, value) {
  console.log(JSON.stringify({ name, value: value === undefined ? null : value }));
}

export async function post(path, body) {
  const answer = await fetch(`${base}/api/sessions/${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return answer.json();
}

export async function until(holds, what) {
  const deadline = Date.now() + 20_000;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export async function caller(transport) {
  const socket = io(base, { transports: [transport], forceNew: true, reconnection: false });
  const heard = [];
  socket.onAny((event, data) => heard.push({ event, data }));
  await new Promise((resolve, reject) => {
    socket.on("connect", resolve);
    socket.on("connect_error", reject);
  });
  const all = (event) => heard.filter((each) => each.event === event).map((each) => each.data);
  const events = () => all("agent-event").filter((each) => each.type === "event").map((each) => each.data);
  return {
    socket,
    heard,
    all,
    events,
    ask: (event, ...payload) => socket.timeout(10_000).emitWithAck(event, ...payload),
    ended: (runs = 1) =>
      until(() => events().filter((each) => each.type === "agent_run_end").length >= runs, "agent_run_end"),
  };
}
