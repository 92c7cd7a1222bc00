/** Which PoP the viewer is at: the choice, its hysteresis, and where it goes when one dies. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Effect } from "../../src/sdk/inputs.js";
import { backupFor, nearest, Pops, POPS_DEFAULT, type MeasuredPop, type Pop } from "../../src/sdk/pops.js";
import { events, joined, Rig, sent } from "./support.js";

const REGIONS: Record<string, string> = { eu: "europe", us: "america", ap: "asia" };

function pop(name: string, fields: Partial<Pop> = {}): Pop {
  const region = REGIONS[name.slice(0, 2)] ?? name;
  return { pop: name, region, url: `https://${name}.example`, connections: 10, state: "serving", ...fields };
}

function measured(name: string, rttMs: number | null, fields: Partial<Pop> = {}): MeasuredPop {
  return { ...pop(name, fields), rttMs };
}

const NAMES = ["eu-1", "eu-2", "us-1", "ap-1"];
const EU = { "eu-1": 12, "eu-2": 25, "us-1": 90, "ap-1": 180 };

/** A viewer that was told to begin at the PoP `here`, and for whom `eu-1` is the nearest. */
function beganAt(here: string): Rig {
  const rig = Rig.joined({}, new Pops(POPS_DEFAULT, () => 0.5, null));
  rig.pass(0);
  rig.feed({ type: "pops", list: { here, pops: NAMES.map((name) => pop(name)) } });
  rig.feed({ type: "probed", rtts: new Map(Object.entries(EU)) });
  assert.equal(rig.core.pops?.state?.pop, "eu-1");
  return rig;
}

/** A viewer that has moved to `eu-1`. */
function atEu1(): Rig {
  const rig = beganAt("us-1");
  rig.feed({ type: "opened" });
  rig.taken();
  rig.receive(joined());
  return rig;
}

/** The next look, and what it finds. */
function look(rig: Rig, rtts: Record<string, number>): Effect[] {
  const before = rig.idle((rig.core.pops?.nextDeadlineMs() ?? 0) - rig.nowMs);
  assert.ok(before.some((effect) => effect.type === "ask_pops"), "asks for the list");
  rig.feed({ type: "pops", list: { here: "eu-1", pops: NAMES.map((name) => pop(name)) } });
  return rig.feed({ type: "probed", rtts: new Map(Object.entries(rtts)) });
}

const connects = (effects: Effect[]): (string | null)[] => effects.flatMap((effect) => (effect.type === "connect" ? [effect.url] : []));

/** The address of the next attempt. */
function nextTry(rig: Rig): string | null | undefined {
  return connects(rig.pass((rig.core.connection.state.retryAtMs ?? 0) - rig.nowMs))[0];
}

test("the nearest is taken; among equals the present one, or else the one with the fewest connections", () => {
  const near = [measured("eu-1", 20, { connections: 50 }), measured("eu-2", 12, { connections: 90 }), measured("us-1", 90)];
  assert.equal(nearest(near, null, 10)?.pop, "eu-1");
  assert.equal(nearest(near, "eu-2", 10)?.pop, "eu-2");
  assert.equal(nearest(near, "us-1", 10)?.pop, "eu-1");
  assert.equal(nearest([measured("eu-1", 23), measured("eu-2", 12)], "eu-1", 10)?.pop, "eu-2");
  assert.equal(nearest([measured("eu-1", 1, { state: "draining" }), measured("us-1", 90)], "eu-1", 10)?.pop, "us-1");
  assert.equal(nearest([measured("eu-1", null)], "eu-1", 10), null, "nobody answers");
});

test("the backup is the next nearest, of another region where one is within reason", () => {
  const [here, near, ocean] = [measured("eu-1", 12), measured("eu-2", 25), measured("us-1", 90)];
  assert.equal(backupFor([here, near, ocean], here, 100)?.pop, "us-1");
  assert.equal(backupFor([here, near, measured("ap-1", 180)], here, 100)?.pop, "eu-2");
  assert.equal(backupFor([here, { ...near, state: "draining" }, measured("ap-1", null)], here, 100)?.pop, "ap-1", "better than nothing");
  assert.equal(backupFor([here], here, 100), null);
});

test("the first look moves at once to what is nearer, with what has been seen so far", () => {
  const rig = Rig.joined({}, new Pops(POPS_DEFAULT, () => 0.5, null));
  assert.ok(rig.pass(0).some((effect) => effect.type === "ask_pops"));
  const asked = rig.feed({ type: "pops", list: { here: "us-1", pops: [...NAMES.map((name) => pop(name)), pop("eu-3", { state: "draining" })] } });
  const probe = asked.find((effect) => effect.type === "probe_pops");
  assert.deepEqual(probe?.type === "probe_pops" && probe.pops.map((one) => one.pop), NAMES, "not the one that goes");
  assert.equal(events(asked, "pop").at(-1)?.region, "america");
  const effects = rig.feed({ type: "probed", rtts: new Map(Object.entries(EU)) });
  assert.deepEqual(connects(effects), ["https://eu-1.example"]);
  const told = events(effects, "pop").at(-1);
  assert.deepEqual([told?.pop, told?.region, told?.rttMs, told?.backup], ["eu-1", "europe", 12, "us-1"]);
  const joins = sent(rig.feed({ type: "opened" }), "join_stream");
  assert.deepEqual(joins[0]?.payload, { stream_id: "demo", resume: "r0" });
});

test("later one is moved to only when three looks in a row find it clearly nearer", () => {
  const rig = atEu1();
  const eu2 = { ...EU, "eu-2": 1 };
  for (const rtts of [eu2, eu2, EU, eu2, eu2]) assert.deepEqual(connects(look(rig, rtts)), []);
  for (let n = 0; n < 5; n += 1) assert.deepEqual(connects(look(rig, { ...EU, "eu-2": 3 })), [], "within 10 ms is as near");
  assert.deepEqual([eu2, eu2, eu2].map((rtts) => connects(look(rig, rtts))), [[], [], ["https://eu-2.example"]]);
});

test("looks that find nothing nearer become rare, and a new connection begins anew", () => {
  const rig = atEu1();
  look(rig, EU);
  const waits = Array.from({ length: 6 }, () => {
    look(rig, EU);
    return (rig.core.pops?.nextDeadlineMs() ?? 0) - rig.nowMs;
  });
  assert.deepEqual(waits.map((ms) => ms / 60_000), [6, 12, 24, 30, 30, 30]);
  rig.lose(1006);
  rig.comeBack();
  look(rig, EU);
  assert.equal((rig.core.pops?.nextDeadlineMs() ?? 0) - rig.nowMs, POPS_DEFAULT.lookMs);
});

test("nothing moves while a post is in flight, but once its receipt is there", () => {
  const rig = atEu1();
  const eu2 = { ...EU, "eu-2": 1 };
  look(rig, eu2);
  look(rig, eu2);
  rig.idle((rig.core.pops?.nextDeadlineMs() ?? 0) - rig.nowMs);
  rig.post("c1", "hello");
  assert.deepEqual(connects(rig.feed({ type: "probed", rtts: new Map(Object.entries(eu2)) })), []);
  const settled = rig.receive({ type: "receipt", payload: { client_id: "c1", status: "durable", comment_id: "9" } });
  assert.deepEqual(connects(settled), ["https://eu-2.example"]);
});

test("a lost connection is tried again where it was, then at the backup, then everywhere in turn, and at last where it was told to begin", () => {
  const rig = atEu1();
  rig.lose(1006);
  const tried = [nextTry(rig)];
  for (let n = 0; n < 6; n += 1) {
    rig.lose(1006);
    tried.push(nextTry(rig));
  }
  const https = (name: string): string => `https://${name}.example`;
  assert.deepEqual(tried, [...["eu-1", "us-1", "eu-2", "ap-1"].map(https), null, ...["eu-1", "us-1"].map(https)]);
  assert.equal(rig.core.pops?.state?.pop, "us-1");
});

test("who is still where it was told to begin comes back by that address first, which may be the only one that it can reach", () => {
  const rig = beganAt("eu-1");
  rig.lose(1006);
  const tried = [nextTry(rig)];
  rig.lose(1006);
  tried.push(nextTry(rig));
  assert.deepEqual(tried, [null, "https://us-1.example"]);
  // The name leads to another PoP now: that is where it is.
  const renamed = beganAt("eu-1");
  renamed.feed({ type: "pops", list: { here: "eu-2", pops: NAMES.map((name) => pop(name)) } });
  assert.equal(renamed.core.pops?.state?.pop, "eu-2");
});

test("when all others are gone from the list, it comes back to the one that is left and not only to where it began", () => {
  const rig = atEu1();
  rig.feed({ type: "pops", list: { here: "eu-1", pops: [pop("eu-1")] } });
  const tried: (string | null | undefined)[] = [];
  for (let n = 0; n < 4; n += 1) {
    rig.lose(1006);
    tried.push(nextTry(rig));
  }
  assert.deepEqual(tried, ["https://eu-1.example", null, "https://eu-1.example", null]);
});

test("1001 sends to the backup at once, within the first jitter, and the one that went is not moved back to", () => {
  const rig = atEu1();
  const lostMs = rig.nowMs;
  rig.lose(1001);
  assert.ok((rig.core.connection.state.retryAtMs ?? 0) - lostMs <= 500);
  assert.equal(nextTry(rig), "https://us-1.example");
  rig.feed({ type: "opened" });
  for (let n = 0; n < 3; n += 1) assert.deepEqual(connects(look(rig, { "eu-1": 12, "us-1": 90 })), []);
  rig.idle(POPS_DEFAULT.avoidMs);
  const later = [1, 2, 3].map(() => connects(look(rig, { "eu-1": 12, "us-1": 90 })));
  assert.deepEqual(later, [[], [], ["https://eu-1.example"]], "but it is when it has been well for long enough");
});

test("a try that does not answer is given up after three seconds where there is another PoP, and without a network none is blamed", () => {
  const rig = atEu1();
  rig.lose(1006);
  nextTry(rig);
  rig.pass(3_000);
  assert.equal(rig.core.connection.phase, "waiting");
  assert.equal(nextTry(rig), "https://us-1.example");
  const offline = atEu1();
  offline.feed({ type: "network", online: false });
  for (let n = 0; n < 4; n += 1) {
    assert.equal(nextTry(offline), "https://eu-1.example");
    offline.lose(1006);
  }
});

test("the user's choice moves at once and stays, until that PoP dies or the user lets go of it", () => {
  const rig = atEu1();
  assert.deepEqual(connects(rig.feed({ type: "move", pop: "nowhere" })), []);
  const effects = rig.feed({ type: "move", pop: "ap-1" });
  assert.deepEqual(connects(effects), ["https://ap-1.example"]);
  assert.equal(events(effects, "pop").at(-1)?.chosen, true);
  rig.feed({ type: "opened" });
  for (let n = 0; n < 4; n += 1) assert.deepEqual(connects(look(rig, EU)), []);
  const released = rig.feed({ type: "move", pop: null });
  assert.deepEqual(connects(released), ["https://eu-1.example"]);
  assert.equal(events(released, "pop").at(-1)?.chosen, false);
  rig.feed({ type: "opened" });
  rig.feed({ type: "move", pop: "ap-1" });
  rig.lose(1006);
  assert.equal(nextTry(rig), "https://eu-1.example", "it did not open");
});

test("a choice that is remembered is where the next visit begins, and three looks confirm another", () => {
  const kept = atEu1().core.pops?.remembered("wss://live.example/v1/ws", 7) ?? null;
  const rig = new Rig({}, new Pops(POPS_DEFAULT, () => 0.5, kept));
  rig.feed({ type: "join", streamId: "demo" });
  assert.deepEqual(connects(rig.feed({ type: "start" })), ["https://eu-1.example"]);
  rig.feed({ type: "opened" });
  assert.deepEqual(["us-1", "us-1", "us-1"].map(() => connects(look(rig, { ...EU, "us-1": 1 }))), [[], [], ["https://us-1.example"]]);
});

test("with one PoP alone nothing is measured and the address stays the one that was given", () => {
  const rig = Rig.joined({}, new Pops(POPS_DEFAULT, () => 0.5, null));
  rig.pass(0);
  const heard = rig.feed({ type: "pops", list: { here: "eu-1", pops: [pop("eu-1")] } });
  assert.equal(events(heard, "pop").at(-1)?.pop, "eu-1");
  assert.ok(heard.every((effect) => effect.type !== "probe_pops"));
  rig.lose(1001);
  for (let n = 0; n < 3; n += 1) {
    assert.equal(nextTry(rig), null);
    rig.lose(1006);
  }
  assert.equal(rig.core.pops?.remembered("wss://x/v1/ws", 0), null);
});
