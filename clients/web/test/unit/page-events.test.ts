/** A browser's events reach the core. A file of its own, since it makes a window and a document. */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { CONNECTION_DEFAULT } from "../../src/sdk/index.js";
import { fakeServer, type FakeServer } from "../fake-server.mjs";
import { ListeningSocket, ManualClock, stopAll, until, viewer } from "./shell.js";

const window = new EventTarget();
const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
const navigator = { onLine: true };
for (const [name, value] of Object.entries({ window, document, navigator })) {
  Object.defineProperty(globalThis, name, { value, configurable: true });
}

let server: FakeServer;
before(async () => {
  server = await fakeServer();
});
afterEach(stopAll);
after(() => server.stop());

const pongs = (): number => ListeningSocket.received.filter((type) => type === "pong").length;
const pings = (): number => ListeningSocket.sent.filter((type) => type === "ping").length;

async function open(): Promise<{ clock: ManualClock } & ReturnType<typeof viewer>> {
  const clock = new ManualClock();
  const made = viewer(server, "p1", { clock, config: { connection: CONNECTION_DEFAULT } });
  await until("joined", () => made.stream.view?.joined === true);
  return { clock, ...made };
}

test("offline is seen at once, and online connects at once", async () => {
  const { chorus, stream, clock } = await open();
  const seen: [string, boolean][] = [];
  chorus.on("connection", ({ phase, offline }) => seen.push([phase, offline]));
  window.dispatchEvent(new Event("offline"));
  assert.deepEqual(seen, [["waiting", true]]);
  assert.equal(chorus.connection.offline, true);
  window.dispatchEvent(new Event("online"));
  assert.equal(chorus.connection.offline, false);
  clock.advance(500);
  await until("joined anew", () => stream.view?.joined === true);
});

test("a browser that starts without a network says so, and tries all the same", async () => {
  navigator.onLine = false;
  const clock = new ManualClock();
  const { chorus, stream } = viewer(server, "p1", { clock });
  navigator.onLine = true;
  assert.deepEqual([chorus.connection.phase, chorus.connection.offline], ["connecting", true]);
  await until("joined", () => stream.view?.joined === true);
  assert.equal(chorus.connection.offline, false);
});

test("coming back to the page probes at once: pageshow, visibilitychange, resume, online", async () => {
  await open();
  for (const [target, type] of [[window, "pageshow"], [document, "visibilitychange"], [document, "resume"], [window, "online"]] as const) {
    const before = pings();
    const pongsBefore = pongs();
    target.dispatchEvent(new Event(type));
    assert.equal(pings(), before + 1, type);
    await until("the pong", () => pongs() > pongsBefore);
  }
});

test("going away does not probe, nor do the late timers of a hidden page", async () => {
  const { clock } = await open();
  const before = pings();
  document.visibilityState = "hidden";
  document.dispatchEvent(new Event("visibilitychange"));
  clock.advance(1_000);
  clock.sleep(12_000, false);
  clock.advance(1);
  document.visibilityState = "visible";
  assert.equal(pings(), before);
});

test("freeze lets the socket go, resume takes up again", async () => {
  const { chorus, stream } = await open();
  document.dispatchEvent(new Event("freeze"));
  assert.equal(chorus.connection.phase, "suspended");
  document.dispatchEvent(new Event("resume"));
  await until("joined anew", () => stream.view?.joined === true);
});

test("after stop nothing is heard any more", async () => {
  const { chorus } = await open();
  chorus.stop();
  const before = chorus.connection;
  for (const type of ["online", "offline", "pageshow"]) window.dispatchEvent(new Event(type));
  for (const type of ["freeze", "resume", "visibilitychange"]) document.dispatchEvent(new Event(type));
  assert.deepEqual(chorus.connection, before);
});
