// EventSource over GET /events/stream through a server that closes it, until the event with seq `last`.
// Arguments: address, session id, last.
import { EventSource } from "eventsource";
import { base, options, say } from "./clients.mjs";

const [sessionId, last] = [options[0], Number(options[1])];
const source = new EventSource(`${base}/api/sessions/events/stream?sessionId=${sessionId}&after=0`);
let opened = 0;
source.onopen = () => say("open", ++opened);
source.onmessage = (message) => {
  const event = JSON.parse(message.data);
  say("event", { type: event.type, seq: event.seq ?? null, lastEventId: message.lastEventId });
  if (event.seq >= last) source.close();
};
