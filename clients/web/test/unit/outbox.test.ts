import assert from "node:assert/strict";
import { test } from "node:test";
import { timeline } from "../../src/sdk/timeline.js";
import type { OwnPost } from "../../src/sdk/outbox.js";
import type { PostComment, Receipt } from "../../src/sdk/protocol.js";
import { batch, comment, events, joined, Rig, sent } from "./support.js";

function receipt(rig: Rig, fields: Omit<Receipt, "client_id">): void {
  rig.receive({ type: "receipt", payload: { client_id: "c1", ...fields } });
}

function fate(rig: Rig, clientId = "c1"): OwnPost {
  const post = rig.core.outbox.get(clientId);
  assert.ok(post);
  return post;
}

function keys(rig: Rig): string[] {
  const view = rig.core.views.get("demo");
  return view ? timeline(view, rig.core.outbox.posts("demo")).map((item) => item.key) : [];
}

test("a post goes from sending over accepted to durable", () => {
  const rig = Rig.joined();
  const effects = rig.post("c1", "  hello ");
  assert.deepEqual(sent(effects, "post_comment")[0]?.payload, { stream_id: "demo", client_id: "c1", content: "hello" });
  assert.equal(fate(rig).status, "sending");
  receipt(rig, { status: "accepted" });
  receipt(rig, { status: "durable", comment_id: "7" });
  assert.equal(fate(rig).status, "durable");
  assert.deepEqual(keys(rig), ["post c1"]);
  rig.receive(batch([comment(6), comment(7, "hello", "u1")]));
  assert.deepEqual(keys(rig), ["comment 6", "post c1"], "shown once, under the same key");
});

test("the own comment before its receipt is not shown twice", () => {
  const rig = Rig.joined();
  rig.post("c1", "hello");
  rig.receive(batch([comment(7, "hello", "u1")]));
  assert.deepEqual(keys(rig), ["post c1"]);
  receipt(rig, { status: "durable", comment_id: "7" });
  assert.deepEqual(keys(rig), ["post c1"]);
});

test("a post without its receipt is sent again after a reconnect, under the same client_id", () => {
  const rig = Rig.joined();
  rig.post("c1", "hello");
  receipt(rig, { status: "accepted" });
  rig.lose();
  rig.pass(400);
  const opened = rig.feed({ type: "opened" });
  assert.equal(sent([...opened, ...rig.taken()], "post_comment").length, 0, "not before the stream is joined");
  const effects = rig.receive(joined());
  assert.equal((sent(effects, "post_comment")[0]?.payload as PostComment).client_id, "c1");
  assert.equal(fate(rig).attempts, 2);
  receipt(rig, { status: "accepted" });
  receipt(rig, { status: "durable", comment_id: "7" });
  rig.lose();
  assert.equal(sent(rig.comeBack(), "post_comment").length, 0, "a durable post is left alone");
});

test("after 30 s without an outcome it is unconfirmed, and a late receipt still counts", () => {
  const rig = Rig.joined();
  rig.post("c1", "hello");
  rig.pass(20_000);
  rig.receive({ type: "pong", payload: {} });
  assert.equal(events(rig.pass(9_999), "post").length, 0);
  const effects = rig.pass(1);
  assert.equal(events(effects, "post")[0]?.post.status, "unconfirmed");
  receipt(rig, { status: "durable", comment_id: "7" });
  assert.equal(fate(rig).status, "durable");
});

test("what was never sent says so, and may be tried again under its key", () => {
  const rig = Rig.joined();
  rig.lose(1000);
  rig.post("c1", "hello");
  rig.pass(30_000);
  assert.equal(fate(rig).status, "unconfirmed");
  assert.equal(fate(rig).attempts, 0);
  rig.feed({ type: "retry", clientId: "c1" });
  rig.feed({ type: "start" });
  rig.feed({ type: "opened" });
  rig.taken();
  assert.equal(sent(rig.receive(joined()), "post_comment").length, 1);
});

test("a refusal carries its reason and the time to wait, and stays where it was written", () => {
  const rig = Rig.joined();
  rig.receive(batch([comment(5)]));
  rig.post("c1", "hello");
  receipt(rig, { status: "rejected", reason: "slow_mode", retry_after_ms: 4_000 });
  assert.equal(fate(rig).reason, "slow_mode");
  assert.equal(fate(rig).retryAtMs, rig.nowMs + 4_000);
  rig.receive(batch([comment(9)]));
  assert.deepEqual(keys(rig), ["comment 5", "post c1", "comment 9"]);
  assert.equal(rig.core.outbox.forget("c1"), true);
  assert.deepEqual(keys(rig), ["comment 5", "comment 9"]);
});

test("a repeated durable does not take back what came after it", () => {
  const rig = Rig.joined();
  rig.post("c1", "hello");
  receipt(rig, { status: "durable", comment_id: "7" });
  receipt(rig, { status: "sampled_out", comment_id: "7" });
  receipt(rig, { status: "accepted" });
  receipt(rig, { status: "durable", comment_id: "7" });
  assert.equal(fate(rig).status, "sampled_out");
  assert.deepEqual(keys(rig), ["post c1"], "the author sees it, the batch never brings it");
});

test("a removed own comment goes, a rejected one stays with its reason", () => {
  const rig = Rig.joined();
  rig.post("c1", "hello");
  receipt(rig, { status: "durable", comment_id: "7" });
  rig.receive(batch([comment(7, "hello", "u1")]));
  rig.receive({ type: "comments_removed", payload: { stream_id: "demo", comment_ids: ["7"], reason: "spam" } });
  assert.deepEqual(keys(rig), []);
  receipt(rig, { status: "rejected", reason: "spam", comment_id: "7" });
  assert.deepEqual(keys(rig), ["post c1"]);
});

test("an error with the client_id ends the post", () => {
  const rig = Rig.joined();
  rig.post("c1", "hello");
  rig.receive({ type: "error", payload: { code: "unconfirmed", message: "unknown", client_id: "c1" } });
  assert.equal(fate(rig).status, "unconfirmed");
  rig.post("c2", "hello");
  rig.receive({ type: "error", payload: { code: "invalid", message: "no", client_id: "c2" } });
  assert.equal(fate(rig, "c2").status, "rejected");
});

test("finished posts are bounded", () => {
  const rig = Rig.joined();
  for (let n = 0; n < 300; n += 1) {
    rig.post(`c${n}`, `text ${n}`);
    rig.receive({ type: "receipt", payload: { client_id: `c${n}`, status: "durable", comment_id: String(n + 1) } });
  }
  assert.equal(rig.core.outbox.posts("demo").length, 200);
});
