/** The network, sleep and the page's life, as the core sees them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { events, joined, Rig, sent, token } from "./support.js";

const doings = (effects: ReturnType<Rig["feed"]>): string[] =>
  effects.flatMap((effect) => (effect.type === "drop" || effect.type === "connect" ? [effect.type] : []));

test("offline is said at once, in the state and in its event", () => {
  const rig = Rig.joined();
  const effects = rig.feed({ type: "network", online: false });
  const state = events(effects, "connection").at(-1);
  assert.deepEqual([state?.phase, state?.offline], ["waiting", true]);
  assert.deepEqual(doings(effects), ["drop"]);
  assert.deepEqual(rig.feed({ type: "network", online: false }), [], "once");
});

test("without a network attempts are few and not counted, and its return connects at once", () => {
  const rig = Rig.joined();
  rig.feed({ type: "network", online: false });
  let tries = 0;
  for (let passed = 0; passed < 600_000; passed += 1_000) {
    if (doings(rig.pass(1_000)).includes("connect")) {
      tries += 1;
      rig.lose();
    }
  }
  assert.ok(tries <= 60, `${tries} tries in ten minutes`);
  assert.equal(rig.core.connection.state.attempt, 0);
  const effects = [...rig.feed({ type: "network", online: true }), ...rig.pass(250)];
  assert.deepEqual(doings(effects), ["connect"]);
  assert.equal(events(effects, "connection").at(-1)?.offline, false);
});

test("a browser that is wrong about the network is proved wrong: a server on the same machine is reached", () => {
  const rig = new Rig();
  rig.feed({ type: "network", online: false });
  rig.feed({ type: "join", streamId: "demo" });
  assert.deepEqual(doings(rig.feed({ type: "start" })), ["connect"]);
  const state = events(rig.feed({ type: "opened" }), "connection").at(-1);
  assert.deepEqual([state?.phase, state?.offline], ["open", false]);

  const later = Rig.joined();
  later.feed({ type: "network", online: false });
  assert.deepEqual(doings(later.pass(500)), ["connect"]);
});

test("the network's return on an open connection probes it at once, and one that is dead is left within 5 s", () => {
  const rig = Rig.joined();
  rig.pass(1_000);
  assert.deepEqual(sent(rig.feed({ type: "network", online: true })).map((message) => message.type), ["ping"]);
  assert.deepEqual(doings(rig.pass(4_999)), []);
  assert.deepEqual(doings(rig.pass(1)), ["drop"]);
  assert.equal(rig.core.connection.phase, "waiting");
});

test("after a sleep the connection is probed at once, also when a probe was out when it began", () => {
  const rig = Rig.joined();
  rig.pass(25_000);
  rig.nowMs += 8 * 3_600_000;
  const effects = [...rig.feed({ type: "wake" }), ...rig.feed({ type: "timer" })];
  assert.deepEqual(sent(effects).map((message) => message.type), ["ping"]);
  assert.equal(rig.core.connection.phase, "open", "an answer may be lying in the socket");
  rig.receive({ type: "pong", payload: {} });
  assert.equal(sent(rig.pass(24_999)).length, 0);
});

test("after a sleep an attempt that got stuck is begun anew, and a wait is cut short", () => {
  const rig = Rig.joined();
  rig.lose();
  rig.pass(250);
  assert.equal(rig.core.connection.phase, "connecting");
  rig.nowMs += 3_600_000;
  assert.deepEqual(doings(rig.feed({ type: "wake" })), ["drop", "connect"]);
  for (let n = 0; n < 8; n += 1) {
    rig.lose();
    rig.pass(30_000);
  }
  rig.lose();
  rig.feed({ type: "wake" });
  assert.ok((rig.core.connection.state.retryAtMs ?? 0) - rig.nowMs <= 500);
});

test("a post that was under way when the machine fell asleep is not given up on waking", () => {
  const rig = Rig.joined();
  rig.post("c1", "hello");
  rig.nowMs += 3_600_000;
  rig.feed({ type: "wake" });
  rig.feed({ type: "timer" });
  assert.equal(rig.core.outbox.get("c1")?.status, "sending");
  rig.receive({ type: "receipt", payload: { client_id: "c1", status: "durable", comment_id: "7" } });
  assert.equal(rig.core.outbox.get("c1")?.status, "durable");
});

test("a frozen page lets its socket go and takes up where it was; one the app suspended stays so", () => {
  const rig = Rig.joined();
  assert.deepEqual(doings(rig.feed({ type: "freeze" })), ["drop"]);
  assert.equal(rig.core.connection.phase, "suspended");
  assert.equal(rig.core.nextDeadlineMs(), null);
  rig.nowMs += 600_000;
  assert.deepEqual(doings(rig.feed({ type: "thaw" })), ["connect"]);
  assert.deepEqual(sent(rig.feed({ type: "opened" }), "join_stream").map(({ payload }) => payload), [{ stream_id: "demo", resume: "r0" }]);
  rig.taken();
  rig.receive(joined());

  rig.feed({ type: "suspend" });
  rig.feed({ type: "freeze" });
  assert.deepEqual(doings(rig.feed({ type: "thaw" })), []);
  assert.equal(rig.core.connection.phase, "suspended");
});

test("the connection says each state once", () => {
  const rig = Rig.joined();
  for (let n = 0; n < 8; n += 1) {
    rig.lose();
    rig.pass(30_000);
  }
  rig.lose();
  assert.equal(events(rig.feed({ type: "nudge" }), "connection").length, 1);
  assert.equal(events([...rig.feed({ type: "nudge" }), ...rig.feed({ type: "wake" })], "connection").length, 0);
});

test("started before there is anything to say, it connects when there is: a server ends what stays silent", () => {
  const rig = new Rig();
  assert.deepEqual(doings(rig.feed({ type: "start" })), []);
  assert.deepEqual(doings(rig.feed({ type: "join", streamId: "demo" })), ["connect"]);

  const signedIn = new Rig();
  signedIn.feed({ type: "start" });
  assert.deepEqual(doings(signedIn.feed({ type: "token", token: token("u1") })), ["connect"]);

  const left = Rig.joined();
  left.feed({ type: "token", token: null });
  left.feed({ type: "leave", streamId: "demo" });
  left.feed({ type: "opened" });
  left.lose(4403);
  assert.equal(left.core.connection.phase, "closed");
  assert.deepEqual(doings(left.feed({ type: "join", streamId: "demo" })), ["connect"]);
});
