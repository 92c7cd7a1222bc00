/** A token that will not do: every answer that says so, and what follows. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { errorAction, reasonAction, type ErrorAction, type ReasonAction } from "../../src/sdk/actions.js";
import { ERROR_CODES, REASONS, type ErrorCode, type Reason } from "../../src/sdk/codes.js";
import type { AuthState } from "../../src/sdk/auth.js";
import type { OwnPost } from "../../src/sdk/outbox.js";
import type { PostComment } from "../../src/sdk/protocol.js";
import { asks, batch, comment, events, joined, Rig, sent, token } from "./support.js";

const OLD = token("u1");
const NEW = token("u1", 8_888_888_888);

function post(rig: Rig, clientId = "c1"): OwnPost {
  const found = rig.core.outbox.get(clientId);
  assert.ok(found);
  return found;
}

const keysSent = (effects: ReturnType<Rig["feed"]>): string[] =>
  sent(effects, "post_comment").map(({ payload }) => (payload as PostComment).client_id);

const last = (effects: ReturnType<Rig["feed"]>): AuthState | undefined => events(effects, "auth").at(-1);

/** Each way in which a server says that the token of a joined viewer with an open post `c1` will not do. */
const REFUSALS: Record<string, (rig: Rig) => ReturnType<Rig["feed"]>> = {
  "error invalid_token": (rig) => rig.error("invalid_token"),
  "error token_expired": (rig) => rig.error("token_expired"),
  "error token_expired of a post": (rig) => rig.error("token_expired", { client_id: "c1" }),
  "error unauthenticated": (rig) => rig.error("unauthenticated"),
  "error wrong_user, twice": (rig) => {
    rig.error("wrong_user");
    rig.feed({ type: "opened" });
    return rig.error("wrong_user");
  },
  "receipt unauthenticated": (rig) => rig.refusedPost("c1", "unauthenticated"),
  "receipt token_expired": (rig) => rig.refusedPost("c1", "token_expired"),
  "close 4401": (rig) => rig.lose(4401),
  "REST 401": (rig) => rig.feed({ type: "token_refused", token: OLD, reason: "unauthenticated" }),
};

for (const [name, refuse] of Object.entries(REFUSALS)) {
  test(`${name}: one question for a new token, and the post goes out again under its key`, () => {
    const rig = Rig.joined({ canRefresh: true });
    rig.post("c1", "hello");
    let effects = refuse(rig);
    assert.equal(asks(effects), 1);
    assert.equal(last(effects)?.status, "refreshing");
    assert.equal(post(rig).status, "sending");
    assert.equal(asks(refuse(rig)), 0, "one question at a time");
    effects = rig.answer(NEW);
    if (rig.core.connection.phase === "waiting") rig.pass((rig.core.connection.state.retryAtMs ?? 0) - rig.nowMs);
    if (rig.core.connection.phase === "connecting") effects = rig.feed({ type: "opened" });
    assert.deepEqual(sent(effects, "authenticate").map(({ payload }) => payload), [{ token: NEW }]);
    effects = [...rig.taken(), ...rig.receive(joined())];
    // What was sent on this very connection and not refused is still being answered.
    const stillOut = name === "error invalid_token" || name === "error token_expired" || name === "error unauthenticated" || name === "REST 401";
    assert.deepEqual(keysSent(effects), stillOut ? [] : ["c1"]);
    rig.receive({ type: "receipt", payload: { client_id: "c1", status: "durable", comment_id: "7" } });
    assert.equal(post(rig).status, "durable");
    assert.deepEqual(rig.core.auth.state, { status: "signed_in", userId: "u1", reason: null });
  });

  test(`${name}: without a way to a new token the viewer is signed out, told so, and goes on reading`, () => {
    const rig = Rig.joined();
    rig.post("c1", "hello");
    const effects = refuse(rig);
    const state = last(effects);
    assert.equal(state?.status, "signed_out");
    assert.ok(state?.reason, "with the code");
    assert.equal(rig.core.auth.token, null);
    assert.notEqual(post(rig).status, "sending", "the post does not wait for nothing");
    if (rig.core.connection.phase === "waiting") rig.comeBack();
    if (rig.core.connection.phase === "connecting") rig.feed({ type: "opened" });
    assert.equal(sent(rig.receive(joined()), "authenticate").length, 0);
    rig.receive(batch([comment(9)]));
    assert.deepEqual(rig.ids(), ["9"]);
  });
}

test("every code has its action, and one that is not known is told and no more", () => {
  const refusals = ERROR_CODES.filter((code) => ["write", "invalid", "expired", "user"].includes(errorAction(code)));
  assert.deepEqual(refusals, ["unauthenticated", "invalid_token", "token_expired", "wrong_user"]);
  assert.deepEqual(REASONS.filter((reason) => reasonAction(reason) === "token"), ["unauthenticated", "token_expired"]);
  assert.equal(errorAction("constructor"), "report");
  assert.equal(reasonAction("toString"), "final");
  const rig = Rig.joined({ canRefresh: true });
  rig.post("c1", "hello");
  assert.equal(asks(rig.error("a_code_of_tomorrow")), 0);
  rig.refusedPost("c1", "a_reason_of_tomorrow");
  assert.equal(post(rig).status, "rejected");
});

test("a code that is not in the server's table does not compile", () => {
  // Held by `npm run check`: without the error, `@ts-expect-error` is one.
  // @ts-expect-error: the SDK waited for this word, and the server says `invalid_token`
  const misspelt = { token_invalid: "invalid" } satisfies Partial<Record<ErrorCode, ErrorAction>>;
  // @ts-expect-error: and all of them have to be there
  const missing = { unauthenticated: "token" } satisfies Record<Reason, ReasonAction>;
  assert.ok(misspelt && missing);
});

test("a moderator's action that is refused for want of a good token asks for one too", () => {
  const rig = Rig.joined({ canRefresh: true });
  const effects = rig.refusedPost("m-1", "token_expired");
  assert.equal(asks(effects), 1);
  assert.equal(events(effects, "receipt").length, 1, "and its app hears of it");
});

test("what the token says of its end is not asked: the clock here may be wrong by an hour either way", () => {
  for (const expS of [1, 4_000_000_000]) {
    const rig = new Rig({ canRefresh: true });
    rig.feed({ type: "token", token: token("u1", expS) });
    rig.feed({ type: "join", streamId: "demo" });
    rig.feed({ type: "start" });
    const opened = rig.feed({ type: "opened" });
    assert.deepEqual(sent(opened).map((message) => message.type), ["authenticate", "ping", "join_stream"]);
    assert.equal(asks(opened), 0);
    rig.taken();
    rig.receive(joined());
    assert.deepEqual(keysSent(rig.post("c1", "hello")), ["c1"], "the server took it, so it is good");
    assert.equal(asks(rig.error("token_expired")), 1, "the server refuses it, so it is not");
    rig.answer(token("u1", expS + 1));
    assert.equal(rig.core.auth.status, "signed_in", "a new token is not judged by its exp either");
  }
});

test("posts wait until the server has taken the token, and a refusal on the way there is no loop", () => {
  const rig = Rig.joined({ canRefresh: true });
  rig.post("c1", "one");
  rig.post("c2", "two");
  rig.refusedPost("c1", "token_expired");
  rig.answer(NEW);
  // The second refusal was under way when the new token went out: it says nothing of that.
  assert.equal(asks(rig.refusedPost("c2", "token_expired")), 0);
  assert.deepEqual(keysSent(rig.post("c3", "three")), []);
  assert.deepEqual(keysSent(rig.taken()), ["c1", "c2", "c3"]);
});

test("an expiry that crosses the new token is not taken for a refusal of it", () => {
  const rig = Rig.joined();
  rig.feed({ type: "token", token: NEW });
  const again = rig.error("token_expired");
  assert.deepEqual(sent(again, "authenticate").map(({ payload }) => payload), [{ token: NEW }]);
  rig.taken();
  assert.equal(rig.core.auth.status, "signed_in");

  const other = Rig.joined();
  other.feed({ type: "token", token: NEW });
  other.error("token_expired");
  assert.equal(last(other.error("token_expired"))?.status, "signed_out", "said twice, it is meant");
});

test("an invalid token replaced before its answer does not take the good one with it", () => {
  const rig = Rig.joined();
  rig.feed({ type: "token", token: token("u1", 1) });
  rig.feed({ type: "token", token: NEW });
  assert.equal(events(rig.error("invalid_token"), "auth").length, 0);
  rig.receive({ type: "pong", payload: { auth: rig.core.auth.sequence - 1 } });
  rig.taken();
  assert.equal(rig.core.auth.token, NEW);
});

test("an app that returns the same bad token is asked three times, later each time, and no more", () => {
  const rig = Rig.joined({ canRefresh: true });
  rig.post("c1", "hello");
  const atMs = rig.nowMs;
  const askedAtMs: number[] = [];
  for (let effects = rig.refusedPost("c1", "unauthenticated"); rig.untilAsked(effects); effects = rig.answer(OLD)) {
    askedAtMs.push(rig.nowMs - atMs);
  }
  assert.deepEqual(askedAtMs, [0, 1_000, 5_000]);
  assert.deepEqual(rig.core.auth.state, { status: "signed_out", userId: null, reason: "unauthenticated" });
  assert.deepEqual([post(rig).status, post(rig).reason], ["rejected", "unauthenticated"]);
  assert.equal(asks(rig.idle(600_000)), 0);
});

test("tokens that are taken and then refused for every post are not a loop", () => {
  const rig = Rig.joined({ canRefresh: true });
  rig.post("c1", "hello");
  let questions = 0;
  for (; rig.untilAsked(rig.refusedPost("c1", "token_expired")); questions += 1) {
    rig.answer(token("u1", 5_000_000_000 + questions));
    assert.deepEqual(keysSent(rig.taken()), ["c1"]);
  }
  assert.equal(questions, 3);
  assert.equal(rig.core.auth.status, "signed_out");
  assert.equal(post(rig).status, "rejected");
});

test("an app that throws is asked again, and its token counts", () => {
  const rig = Rig.joined({ canRefresh: true });
  rig.error("invalid_token");
  rig.answer(null, true);
  assert.equal(rig.core.auth.status, "refreshing");
  assert.equal(asks(rig.pass(1_000)), 1);
  rig.answer(NEW);
  assert.equal(rig.core.auth.status, "signed_in");
});

test("an app that throws always is left in peace", () => {
  const rig = Rig.joined({ canRefresh: true });
  rig.error("invalid_token");
  for (let n = 0; n < 3; n += 1) {
    rig.answer(null, true);
    rig.pass(4_000);
  }
  assert.equal(rig.core.auth.status, "signed_out");
  assert.equal(asks(rig.pass(600_000)), 0);
});

test("an app that never answers: signed out after 15 s, asked no second time, and a late token is still taken", () => {
  const rig = Rig.joined({ canRefresh: true });
  rig.post("c1", "hello");
  rig.refusedPost("c1", "token_expired");
  assert.equal(asks(rig.pass(14_999)), 0);
  assert.equal(last(rig.pass(1))?.status, "signed_out");
  assert.equal(post(rig).reason, "unauthenticated");
  assert.equal(asks(rig.post("c2", "again")), 0, "the first question is still open");
  rig.pass(15_000);
  assert.equal(post(rig, "c2").status, "rejected");
  rig.answer(NEW);
  assert.equal(rig.core.auth.status, "signed_in");
});

test("without a connection the app is not asked over and over: it cannot know", () => {
  const rig = Rig.joined({ canRefresh: true });
  rig.error("invalid_token");
  rig.lose();
  rig.answer(null, true);
  rig.feed({ type: "network", online: false });
  assert.equal(asks(rig.pass(60_000)), 0);
  assert.equal(rig.core.auth.status, "refreshing");
  rig.feed({ type: "network", online: true });
  rig.pass(1_000);
  assert.equal(asks(rig.feed({ type: "opened" })), 1);
});

test("an app that has no token says null: signed out at once, and the reason stays", () => {
  const rig = Rig.joined({ canRefresh: true });
  rig.error("invalid_token");
  assert.deepEqual(last(rig.answer(null)), { status: "signed_out", userId: null, reason: "invalid_token" });
});

test("a refresh without an initial token: the app is asked when there is a connection, and posts wait for it", () => {
  const rig = new Rig({ canRefresh: true });
  rig.feed({ type: "join", streamId: "demo" });
  rig.feed({ type: "start" });
  assert.equal(asks(rig.feed({ type: "opened" })), 1);
  rig.receive(joined());
  rig.post("c1", "hello");
  assert.equal(post(rig).status, "sending");
  assert.equal(sent(rig.answer(OLD), "authenticate").length, 1);
  assert.deepEqual(keysSent(rig.taken()), ["c1"]);
  rig.lose();
  assert.equal(asks(rig.comeBack()), 0);
});

test("a viewer whom the app has no token for is asked again when something is written", () => {
  const rig = new Rig({ canRefresh: true });
  rig.feed({ type: "join", streamId: "demo" });
  rig.feed({ type: "start" });
  rig.feed({ type: "opened" });
  rig.receive(joined());
  rig.answer(null);
  assert.equal(asks(rig.idle(60_000)), 0);
  assert.equal(asks(rig.post("c1", "hello")), 1);
  rig.answer(OLD);
  assert.deepEqual(keysSent(rig.taken()), ["c1"]);
});

test("a post of somebody who is not signed in fails at once, and may go out under its key later", () => {
  const rig = new Rig();
  rig.feed({ type: "join", streamId: "demo" });
  rig.feed({ type: "start" });
  rig.feed({ type: "opened" });
  rig.receive(joined());
  rig.post("c1", "hello");
  assert.deepEqual([post(rig).status, post(rig).reason], ["rejected", "unauthenticated"]);
  rig.feed({ type: "token", token: OLD });
  rig.taken();
  assert.deepEqual(keysSent(rig.feed({ type: "retry", clientId: "c1" })), ["c1"]);
});

test("setToken of another user reconnects as that user, and posts of the one are not sent as the other", () => {
  const rig = Rig.joined();
  rig.receive(batch([comment(5)], "r5"));
  rig.post("c1", "hello");
  const effects = rig.feed({ type: "token", token: token("u2") });
  assert.deepEqual(
    effects.filter((effect) => effect.type === "drop" || effect.type === "connect").map((effect) => effect.type),
    ["drop", "connect"],
  );
  assert.equal(sent(effects, "authenticate").length, 0, "not on the connection of the other");
  assert.equal(post(rig).status, "unconfirmed");
  const opened = rig.feed({ type: "opened" });
  assert.deepEqual(sent(opened, "authenticate").map(({ payload }) => payload), [{ token: token("u2") }]);
  assert.deepEqual(sent(opened, "join_stream").map(({ payload }) => payload), [{ stream_id: "demo", resume: "r5" }]);
  assert.deepEqual(keysSent([...rig.taken(), ...rig.receive(joined())]), []);
  assert.equal(rig.core.auth.userId, "u2");
  assert.deepEqual(keysSent(rig.post("c2", "I am u2")), ["c2"]);
});

test("a token whose user cannot be read reconnects when the server says that the connection is another's", () => {
  const rig = Rig.joined();
  rig.feed({ type: "token", token: "opaque" });
  rig.feed({ type: "opened" });
  rig.taken();
  rig.feed({ type: "token", token: "opaque too" });
  const effects = rig.error("wrong_user");
  assert.ok(effects.some((effect) => effect.type === "connect"));
  assert.deepEqual(sent(rig.feed({ type: "opened" }), "authenticate").map(({ payload }) => payload), [{ token: "opaque too" }]);
  assert.equal(rig.core.auth.status, "signed_in");
});

test("setToken(null) signs out: a connection without the user, reading goes on, and nobody is asked for a token", () => {
  const rig = Rig.joined({ canRefresh: true });
  rig.post("c1", "hello");
  rig.error("invalid_token");
  const { round } = rig.core.auth;
  const effects = rig.feed({ type: "token", token: null });
  assert.deepEqual(last(effects), { status: "signed_out", userId: null, reason: null });
  assert.ok(effects.some((effect) => effect.type === "connect"));
  assert.equal(post(rig).status, "unconfirmed");
  const opened = rig.feed({ type: "opened" });
  assert.deepEqual(sent(opened).map((message) => message.type), ["join_stream"]);
  rig.receive(joined());
  rig.receive(batch([comment(9)]));
  assert.deepEqual(rig.ids(), ["9"]);
  assert.equal(asks([...opened, ...rig.post("c2", "me?"), ...rig.idle(60_000)]), 0);
  assert.equal(post(rig, "c2").reason, "unauthenticated");
  rig.feed({ type: "token_answer", round, token: NEW, failed: false });
  assert.equal(rig.core.auth.status, "signed_out", "a late answer does not sign in again");
});

test("setToken(null) before anything was shown to the server keeps the connection", () => {
  const rig = new Rig();
  rig.feed({ type: "join", streamId: "demo" });
  rig.feed({ type: "start" });
  rig.feed({ type: "opened" });
  assert.deepEqual(rig.feed({ type: "token", token: null }), []);
});

test("4401 without a token to replace is the end, and a token begins again", () => {
  const rig = new Rig();
  rig.feed({ type: "join", streamId: "demo" });
  rig.feed({ type: "start" });
  rig.feed({ type: "opened" });
  rig.lose(4401);
  assert.equal(rig.core.connection.phase, "closed");
  assert.ok(rig.feed({ type: "token", token: OLD }).some((effect) => effect.type === "connect"));
});

test("4401 again and again, whatever the token, ends after three questions", () => {
  const rig = Rig.joined({ canRefresh: true });
  let questions = 0;
  for (let n = 0; n < 50 && rig.core.connection.phase !== "closed"; n += 1) {
    if (rig.untilAsked(rig.lose(4401))) {
      questions += 1;
      rig.answer(token("u1", 5_000_000_000 + n));
    }
    rig.pass(Math.max(0, (rig.core.connection.state.retryAtMs ?? 0) - rig.nowMs));
    rig.feed({ type: "opened" });
  }
  assert.equal(rig.core.connection.phase, "closed");
  assert.equal(questions, 3);
});
