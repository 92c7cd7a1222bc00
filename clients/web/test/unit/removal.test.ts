/** Comments taken away: they stay away, and who wanted that is told what became of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { REMOVED_MAX, RemovedIds } from "../../src/sdk/removed.js";
import type { ServerMessage } from "../../src/sdk/protocol.js";
import { batch, comment, events, joined, Rig, sent, token } from "./support.js";

const removed = (ids: string[], reason = "author"): ServerMessage => ({
  type: "comments_removed",
  payload: { stream_id: "demo", comment_ids: ids, reason },
});
const view = (rig: Rig) => {
  const held = rig.core.views.get("demo");
  assert.ok(held);
  return held;
};
const remove = (rig: Rig, commentId = "7", clientId = "d1") => 
  rig.feed({ type: "decide", decision: { type: "delete_comment", payload: { stream_id: "demo", comment_id: commentId, client_id: clientId } } });
const receipt = (rig: Rig, status: "applied" | "rejected", reason?: string) =>
  rig.receive({ type: "receipt", payload: { client_id: "d1", comment_id: "7", status, ...(reason ? { reason } : {}) } });
const outcomes = (effects: Parameters<typeof events>[0]) => events(effects, "decision").map(({ commentId, code }) => [commentId, code]);

test("a removed comment goes, is told of once, and is counted once", () => {
  const rig = Rig.joined();
  rig.receive(joined({ comment_count: 100, comments: [comment(5), comment(7)], pinned: "7" }));
  const effects = rig.receive(removed(["7", "3"], "moderator"), removed(["7"], "moderator"));
  assert.deepEqual(events(effects, "removed"), [{ streamId: "demo", commentIds: ["7", "3"], reason: "moderator" }]);
  assert.deepEqual(rig.ids(), ["5"]);
  assert.equal(view(rig).commentCount, 98, "also one that is too old to be held");
  assert.equal(view(rig).pinnedId, null);
});

test("nothing brings it back: a repeat, a late batch, a join", () => {
  const rig = Rig.joined();
  rig.receive(batch([comment(5), comment(7)]), removed(["7"]));
  assert.equal(events(rig.receive(batch([comment(7)])), "comments").length, 0);
  rig.lose();
  const effects = rig.comeBack(joined({ comments: [comment(7), comment(8)], pinned: "7" }));
  assert.deepEqual(events(effects, "joined")[0]?.added.map(({ id }) => id), ["8"]);
  assert.deepEqual(rig.ids(), ["5", "8"]);
  assert.equal(view(rig).pinnedId, null);
});

test("a removal that overtakes its comment takes it away, and leaves the count right", () => {
  const rig = Rig.joined();
  rig.receive(joined({ comment_count: 10, comments: [comment(5)] }), removed(["7"]));
  rig.receive(batch([comment(6), comment(7)]));
  rig.receive(batch([comment(7)]));
  assert.deepEqual(rig.ids(), ["5", "6"]);
  assert.equal(view(rig).commentCount, 11);
});

test("what was removed while away goes with the join, also from an app that shows more", () => {
  const rig = Rig.joined();
  rig.receive(batch([comment(5), comment(7)]));
  rig.lose();
  const effects = rig.comeBack(joined({ comments: [comment(8), comment(9)], removed: ["7", "2", "9"], comment_count: 2 }));
  assert.deepEqual(events(effects, "removed")[0]?.commentIds, ["7", "2", "9"]);
  assert.deepEqual(events(effects, "joined")[0]?.added.map(({ id }) => id), ["8"]);
  assert.deepEqual(rig.ids(), ["5", "8"]);
  assert.equal(view(rig).commentCount, 2, "the server's count is without them already");
});

test("the ids remembered are bounded, and the oldest goes first", () => {
  const ids = new RemovedIds();
  for (let id = 0; id <= REMOVED_MAX; id += 1) ids.add(String(id));
  assert.equal(REMOVED_MAX, 10_000);
  assert.deepEqual([ids.has("0"), ids.has("1"), ids.has(String(REMOVED_MAX))], [false, true, true]);
});

test("a removal is sent under its key and ends with applied", () => {
  const rig = Rig.joined();
  rig.receive(batch([comment(7, "mine", "u1")]));
  assert.deepEqual(sent(remove(rig)), [{ type: "delete_comment", payload: { stream_id: "demo", comment_id: "7", client_id: "d1" } }]);
  assert.deepEqual(rig.ids(), ["7"], "not before the answer");
  const effects = receipt(rig, "applied");
  assert.deepEqual(outcomes(effects), [["7", null]]);
  assert.deepEqual(events(effects, "removed")[0]?.commentIds, ["7"], "gone, though `comments_removed` is on its way");
  assert.equal(events(effects, "receipt").length, 0);
  assert.deepEqual(events(rig.receive(removed(["7"])), "removed"), []);
  assert.equal(events(receipt(rig, "applied"), "decision").length, 0, "told once");
});

test("an own post that is taken away is not shown as a post either", () => {
  const rig = Rig.joined();
  rig.post("c1", "mine");
  rig.receive({ type: "receipt", payload: { client_id: "c1", comment_id: "7", status: "durable" } });
  remove(rig);
  const effects = receipt(rig, "applied");
  assert.equal(events(effects, "post")[0]?.post.removed, true);
});

test("a refusal has its code, as an error or as a receipt", () => {
  const rig = Rig.joined();
  rig.receive(batch([comment(7)]));
  remove(rig);
  assert.deepEqual(outcomes(rig.error("forbidden", { client_id: "d1" })), [["7", "forbidden"]]);
  remove(rig);
  assert.deepEqual(outcomes(receipt(rig, "rejected", "comment_not_found")), [["7", "comment_not_found"]]);
  remove(rig);
  const late = rig.receive({ type: "error", payload: { code: "rate_limited", message: "slow", client_id: "d1", retry_after_ms: 500 } });
  assert.equal(events(late, "decision")[0]?.retryAtMs, rig.nowMs + 500);
  assert.deepEqual(rig.ids(), ["7"]);
});

test("after a reconnect only what is unanswered goes out again, under the same key", () => {
  const rig = Rig.joined();
  remove(rig);
  rig.lose();
  assert.deepEqual(sent(rig.comeBack(), "delete_comment").map(({ payload }) => payload), [{ stream_id: "demo", comment_id: "7", client_id: "d1" }]);
  receipt(rig, "applied");
  rig.lose();
  assert.deepEqual(sent(rig.comeBack(), "delete_comment"), []);
});

test("without an answer it is unconfirmed after 30 s, and not sent again", () => {
  const rig = Rig.joined();
  remove(rig);
  assert.deepEqual(outcomes(rig.idle(29_000)), []);
  assert.deepEqual(outcomes(rig.idle(1_001)), [["7", "unconfirmed"]]);
  rig.lose();
  assert.deepEqual(sent(rig.comeBack(), "delete_comment"), []);
  assert.equal(rig.core.decisions.nextDeadlineMs(), null);
});

test("refused for want of a token it waits for a better one; without one it ends with that", () => {
  const rig = Rig.joined({ canRefresh: true });
  remove(rig);
  assert.deepEqual(outcomes(rig.error("token_expired", { client_id: "d1" })), []);
  rig.answer(token("u1", 8_888_888_888));
  assert.equal(sent(rig.taken(), "delete_comment").length, 1);

  const alone = Rig.joined();
  remove(alone);
  assert.deepEqual(outcomes(alone.error("unauthenticated", { client_id: "d1" })), [["7", "unauthenticated"]]);
  const reader = new Rig();
  reader.feed({ type: "join", streamId: "demo" });
  assert.deepEqual(outcomes(remove(reader)), [["7", "unauthenticated"]]);
});

test("leaving the stream ends what was not sent, and nothing is begun where nothing is joined", () => {
  const rig = Rig.joined();
  rig.lose();
  remove(rig);
  assert.deepEqual(outcomes(rig.feed({ type: "leave", streamId: "demo" })), [["7", "not_joined"]]);
  assert.deepEqual(outcomes(remove(rig)), [["7", "not_joined"]]);
});


test("a moderator's action goes the same way, and only a removal takes the comment away here", () => {
  const rig = Rig.joined();
  rig.receive(batch([comment(7)]));
  const act = (action: string) => {
    const payload = { stream_id: "demo", action, comment_id: "7", client_id: "d1" };
    const wire = sent(rig.feed({ type: "decide", decision: { type: "moderate", payload } }));
    assert.deepEqual(wire, [{ type: "moderate", payload }]);
    return receipt(rig, "applied");
  };
  assert.deepEqual(outcomes(act("an_action")), [["7", null]]);
  assert.deepEqual(rig.ids(), ["7"]);
  act("remove");
  assert.deepEqual(rig.ids(), []);
  const about = { stream_id: "demo", action: "of_no_comment", client_id: "d2" };
  rig.feed({ type: "decide", decision: { type: "moderate", payload: about } });
  const [refused] = events(rig.error("forbidden", { client_id: "d2" }), "decision");
  assert.deepEqual([refused?.action, refused?.commentId, refused?.code], ["of_no_comment", null, "forbidden"]);
});
