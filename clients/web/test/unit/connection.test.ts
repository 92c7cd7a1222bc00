import assert from "node:assert/strict";
import { test } from "node:test";
import { closeAction } from "../../src/sdk/actions.js";
import { BACKOFF_DEFAULT, backoffMs } from "../../src/sdk/backoff.js";
import { batch, comment, events, joined, Rig, sent, token } from "./support.js";

test("only a code of the table that says so ends it; those of proxies, libraries and the future bring the viewer back", () => {
  for (const code of [1000, 1002, 1003, 1007, 1009, 4403]) assert.equal(closeAction(code), "end", String(code));
  assert.equal(closeAction(4401), "token");
  for (const code of [0, 1001, 1004, 1005, 1006, 1008, 1010, 1011, 1012, 1013, 1014, 1015, 3000, 3999, 4000, 4408, 4429, 4999]) {
    assert.equal(closeAction(code), "again", String(code));
    const rig = Rig.joined();
    assert.equal(events(rig.lose(code), "connection").at(-1)?.phase, "waiting", String(code));
    rig.comeBack();
    assert.equal(rig.core.connection.phase, "open", String(code));
  }
});

test("back-off doubles to its cap with full jitter, and 4429 has a floor", () => {
  const wait = (attempt: number, random: number, code = 1006): number => backoffMs(attempt, code, random, BACKOFF_DEFAULT);
  assert.equal(wait(0, 0), 0);
  assert.deepEqual([0, 1, 2, 3].map((attempt) => wait(attempt, 0.5)), [250, 500, 1_000, 2_000]);
  assert.equal(wait(50, 0.999), 29_970);
  assert.equal(wait(0, 0, 4429), 5_000);
});

test("the token goes first, then every stream with its resume", () => {
  const rig = new Rig();
  rig.feed({ type: "token", token: token("u1") });
  rig.feed({ type: "join", streamId: "demo" });
  rig.feed({ type: "join", streamId: "other" });
  rig.feed({ type: "start" });
  rig.feed({ type: "opened" });
  rig.receive(joined({ resume: "d1" }), joined({ stream_id: "other", resume: "o1" }), batch([comment(5)], "d2"));
  rig.lose();
  rig.pass(250);
  assert.deepEqual(
    sent(rig.feed({ type: "opened" })).map((message) => [message.type, (message.payload as { resume?: string }).resume]),
    [["authenticate", undefined], ["ping", undefined], ["join_stream", "d2"], ["join_stream", "o1"]],
  );
});

test("what a resume brings is inserted once and in order", () => {
  const rig = Rig.joined();
  rig.receive(batch([comment(5), comment(6)]));
  rig.lose(1001);
  rig.comeBack(joined({ comments: [comment(6), comment(7)], removed: ["5"] }));
  rig.receive(batch([comment(8), comment(7)]));
  assert.deepEqual(rig.ids(), ["6", "7", "8"]);
});

test("a failed attempt waits longer; a connection that held starts anew", () => {
  const rig = Rig.joined();
  const waits: number[] = [];
  for (let n = 0; n < 3; n += 1) {
    rig.lose();
    waits.push((rig.core.connection.state.retryAtMs ?? 0) - rig.nowMs);
    rig.pass(waits.at(-1) ?? 0);
  }
  assert.deepEqual(waits, [250, 500, 1_000]);
  rig.feed({ type: "opened" });
  rig.pass(10_000);
  rig.lose();
  assert.equal((rig.core.connection.state.retryAtMs ?? 0) - rig.nowMs, 250);
});

test("4403 ends it, and start begins again", () => {
  const rig = Rig.joined();
  const effects = rig.lose(4403);
  assert.equal(events(effects, "connection").at(-1)?.phase, "closed");
  assert.equal(rig.core.nextDeadlineMs(), null);
  assert.ok(rig.feed({ type: "start" }).some((effect) => effect.type === "connect"));
});

test("silence is probed, and a server that does not answer is left", () => {
  const rig = Rig.joined();
  assert.deepEqual(sent(rig.pass(25_000)).map((message) => message.type), ["ping"]);
  rig.receive({ type: "pong", payload: {} });
  assert.equal(sent(rig.pass(24_999)).length, 0);
  const effects = rig.pass(1 + 10_000 + 250);
  assert.deepEqual(
    effects.filter((effect) => effect.type === "drop" || effect.type === "connect").map((effect) => effect.type),
    ["drop", "connect"],
  );
});

test("a connection that never opens is given up and tried again", () => {
  const rig = new Rig();
  rig.feed({ type: "join", streamId: "demo" });
  rig.feed({ type: "start" });
  rig.pass(10_000);
  assert.equal(rig.core.connection.phase, "waiting");
});

test("the network's return shortens the wait, but not after 4429", () => {
  const rig = Rig.joined();
  for (let n = 0; n < 8; n += 1) {
    rig.lose();
    rig.pass(30_000);
  }
  rig.lose();
  rig.feed({ type: "nudge" });
  assert.equal((rig.core.connection.state.retryAtMs ?? 0) - rig.nowMs, 250);
  rig.pass(250);
  rig.lose(4429);
  const before = rig.core.connection.state.retryAtMs;
  rig.feed({ type: "nudge" });
  assert.equal(rig.core.connection.state.retryAtMs, before);
});

test("suspend keeps what is known and resumes from there", () => {
  const rig = Rig.joined();
  rig.receive(batch([comment(5)], "r5"));
  assert.ok(rig.feed({ type: "suspend" }).some((effect) => effect.type === "drop"));
  rig.feed({ type: "start" });
  const join = sent(rig.feed({ type: "opened" }), "join_stream")[0];
  assert.deepEqual(join?.payload, { stream_id: "demo", resume: "r5" });
  assert.deepEqual(rig.ids(), ["5"]);
});

test("clicks are gathered: one message a window and type, 20 at the most", () => {
  const rig = Rig.joined();
  for (let n = 0; n < 45; n += 1) rig.feed({ type: "react", streamId: "demo", reactionType: "like", count: 1 });
  rig.feed({ type: "react", streamId: "demo", reactionType: "wow", count: 1 });
  const counts = (ms: number): unknown[] =>
    sent(rig.pass(ms), "react").map(({ payload }) => [(payload as never)["reaction_type"], (payload as never)["count"]]);
  assert.deepEqual(counts(249), []);
  assert.deepEqual(counts(1), [["like", 20], ["wow", 1]]);
  assert.deepEqual(counts(250), [["like", 20]]);
  assert.deepEqual(counts(250), [["like", 5]]);
  assert.deepEqual(counts(1_000), []);
});

test("clicks without a connection are let go, not piled up", () => {
  const rig = Rig.joined();
  rig.feed({ type: "react", streamId: "demo", reactionType: "like", count: 1 });
  rig.lose();
  rig.feed({ type: "react", streamId: "demo", reactionType: "like", count: 1 });
  assert.equal(sent(rig.comeBack(), "react").length, 0);
  assert.equal(sent(rig.pass(1_000), "react").length, 0);
});
