/** What a stream is: its title and status, that it is not there, that it has ended. And that each change is told once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { OwnPost } from "../../src/sdk/outbox.js";
import type { ServerMessage, ServerPayloads } from "../../src/sdk/protocol.js";
import { batch, comment, events, joined, Rig, sent } from "./support.js";

function post(rig: Rig, clientId = "c1"): OwnPost {
  const found = rig.core.outbox.get(clientId);
  assert.ok(found);
  return found;
}

const receipt = (fields: Omit<ServerPayloads["receipt"], "client_id">): ServerMessage => ({
  type: "receipt",
  payload: { client_id: "c1", ...fields },
});

test("joined and stream_updated carry title and status, each alone as well", () => {
  const rig = Rig.joined();
  const view = rig.core.views.get("demo");
  rig.receive(joined({ title: "The final", status: "live", settings: { slow_mode_s: 0 } }));
  assert.deepEqual([view?.title, view?.status], ["The final", "live"]);
  const ended = rig.receive({ type: "stream_updated", payload: { stream_id: "demo", status: "ended" } });
  assert.deepEqual(events(ended, "stream"), [
    { streamId: "demo", title: "The final", status: "ended", settings: { slow_mode_s: 0 }, problem: null },
  ]);
  rig.receive({ type: "stream_updated", payload: { stream_id: "demo", title: "The final, seen again" } });
  rig.receive({ type: "stream_updated", payload: { stream_id: "demo", settings: { emote_only: true } } });
  assert.deepEqual([view?.title, view?.status, view?.settings], ["The final, seen again", "ended", { slow_mode_s: 0, emote_only: true }]);
});

test("who joins late is told that the stream has ended", () => {
  const rig = Rig.joined();
  rig.receive(joined({ status: "ended" }));
  assert.equal(rig.core.views.get("demo")?.status, "ended");
});

test("a stream that is not there: the state says so at once, and its posts fail at once", () => {
  const rig = Rig.joined();
  rig.feed({ type: "join", streamId: "nowhere" });
  rig.feed({ type: "post", streamId: "nowhere", clientId: "c1", content: "hello?" });
  rig.post("c2", "elsewhere");
  const effects = rig.error("stream_not_found", { stream_id: "nowhere" });
  assert.equal(rig.core.views.get("nowhere")?.problem, "stream_not_found");
  assert.equal(events(effects, "stream")[0]?.problem, "stream_not_found");
  assert.equal(events(effects, "error")[0]?.stream_id, "nowhere");
  assert.deepEqual([post(rig).status, post(rig).reason], ["rejected", "stream_not_found"]);
  assert.equal(post(rig, "c2").status, "sending", "the other stream's post has nothing to do with it");
  rig.feed({ type: "post", streamId: "nowhere", clientId: "c3", content: "still?" });
  assert.equal(post(rig, "c3").reason, "stream_not_found");
  rig.lose();
  rig.feed({ type: "post", streamId: "nowhere", clientId: "c4", content: "and now?" });
  assert.equal(post(rig, "c4").reason, "stream_not_found", "known until a join says otherwise");
});

test("a stream that comes to be is joined on the next connection, or by joining again", () => {
  const rig = Rig.joined();
  rig.error("stream_not_found", { stream_id: "demo" });
  assert.equal(rig.core.views.get("demo")?.joined, false);
  assert.equal(sent(rig.feed({ type: "join", streamId: "demo" }), "join_stream").length, 1);
  rig.receive(joined());
  assert.equal(rig.core.views.get("demo")?.problem, null);
  rig.error("stream_not_found", { stream_id: "demo" });
  rig.lose();
  rig.comeBack();
  assert.equal(rig.core.views.get("demo")?.problem, null);
});

test("a post that was on its way when its stream went waits for its own answer", () => {
  const rig = Rig.joined();
  rig.post("c1", "hello");
  rig.error("stream_not_found", { stream_id: "demo" });
  assert.equal(post(rig).status, "sending");
  rig.receive(receipt({ status: "durable", comment_id: "7" }));
  assert.equal(post(rig).status, "durable");
});

test("a post refused because the stream has ended says so", () => {
  const rig = Rig.joined();
  rig.post("c1", "hello");
  rig.receive(receipt({ status: "rejected", reason: "stream_ended" }));
  assert.deepEqual([post(rig).status, post(rig).reason], ["rejected", "stream_ended"]);
});

test("a post into a stream that was not joined, or was left before it went out, fails at once", () => {
  const rig = Rig.joined();
  rig.feed({ type: "post", streamId: "other", clientId: "c1", content: "hello" });
  assert.equal(post(rig).reason, "not_joined");
  rig.lose();
  rig.post("c2", "hello");
  rig.feed({ type: "leave", streamId: "demo" });
  assert.equal(post(rig, "c2").reason, "not_joined");
});

test("one durable is one event, whether the receipt or the comment comes first", () => {
  const mine = batch([comment(7, "hello", "u1")]);
  for (const order of [[receipt({ status: "durable", comment_id: "7" }), mine], [mine, receipt({ status: "durable", comment_id: "7" })]]) {
    const rig = Rig.joined();
    rig.post("c1", "hello");
    rig.receive(receipt({ status: "accepted" }));
    const seen = order.flatMap((message) => events(rig.receive(message), "post").map((event) => event.post.status));
    assert.equal(seen.filter((status) => status === "durable").length, 1);
  }
});

test("what is said twice is told once", () => {
  const rig = Rig.joined();
  rig.post("c1", "hello");
  const twice: ServerMessage[] = [
    receipt({ status: "accepted" }),
    receipt({ status: "durable", comment_id: "7" }),
    batch([comment(7, "hello", "u1")]),
    { type: "viewer_count", payload: { stream_id: "demo", count: 3 } },
    { type: "reactions_batch", payload: { stream_id: "demo", counts: { like: 3 }, comments: { "7": { like: 1 } } } },
    { type: "comment_updated", payload: { stream_id: "demo", comment_id: "7", pinned: true } },
    { type: "stream_updated", payload: { stream_id: "demo", status: "ended" } },
    { type: "comments_removed", payload: { stream_id: "demo", comment_ids: ["7"] } },
    receipt({ status: "rejected", reason: "spam", retry_after_ms: 5_000 }),
  ];
  for (const message of twice) {
    const told = (effects: ReturnType<Rig["feed"]>): number => effects.filter((effect) => effect.type === "emit").length;
    assert.ok(told(rig.receive(message)) > 0, `${message.type} is told`);
    rig.nowMs += 100;
    assert.equal(told(rig.receive(message)), 0, `${message.type} is told once`);
  }
});

test("receipts after the end of a post change nothing that is known, and nobody hears of them", () => {
  const rig = Rig.joined();
  rig.post("c1", "hello");
  rig.receive(receipt({ status: "rejected", reason: "blocked_word" }));
  assert.deepEqual(rig.receive(receipt({ status: "accepted" }), receipt({ status: "durable" })), []);
  assert.deepEqual(rig.error("unconfirmed", { client_id: "c1" }).map((effect) => effect.type === "emit" && effect.event.type), ["error"]);
  assert.equal(post(rig).reason, "blocked_word");
  assert.deepEqual(rig.receive(receipt({ status: "a_status_of_tomorrow" as never })), []);
});

test("a late answer to a post that was given up counts, refusals too", () => {
  const rig = Rig.joined();
  rig.post("c1", "hello");
  rig.idle(30_000);
  assert.equal(post(rig).status, "unconfirmed");
  assert.equal(events(rig.error("invalid_message", { client_id: "c1" }), "post").length, 1);
  assert.equal(post(rig).status, "rejected");
  rig.post("c2", "hello again");
  rig.idle(30_000);
  rig.receive({ type: "receipt", payload: { client_id: "c2", status: "accepted" } });
  assert.equal(post(rig, "c2").status, "unconfirmed", "taken is not stored");
  rig.receive({ type: "receipt", payload: { client_id: "c2", status: "held", comment_id: "9" } });
  assert.equal(post(rig, "c2").status, "held");
});
