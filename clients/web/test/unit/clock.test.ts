/** Clocks that are set, machines that sleep, runtimes without a UUID. */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { systemClock } from "../../src/sdk/clock.js";
import { newClientId } from "../../src/sdk/ids.js";
import { CONNECTION_DEFAULT, devToken } from "../../src/sdk/index.js";
import { fakeServer, type FakeServer } from "../fake-server.mjs";
import { ListeningSocket, ManualClock, statusOf, stopAll, until, viewer } from "./shell.js";

let server: FakeServer;
before(async () => {
  server = await fakeServer();
});
afterEach(stopAll);
after(() => server.stop());

const HOUR_MS = 3_600_000;
const pings = (): number => ListeningSocket.sent.filter((type) => type === "ping").length;

async function onClock(streamId: string): Promise<{ clock: ManualClock } & ReturnType<typeof viewer>> {
  const clock = new ManualClock();
  const { token } = await devToken(server.url, "ada");
  const made = viewer(server, streamId, { clock, token, config: { connection: CONNECTION_DEFAULT } });
  await until("joined", () => made.stream.view?.joined === true);
  await until("the pong", () => made.chorus.auth.status === "signed_in");
  return { clock, ...made };
}

for (const byMs of [-HOUR_MS, HOUR_MS]) {
  const set = byMs < 0 ? "back" : "forward";

  test(`a clock set ${set} by an hour does not delay the reconnect`, async () => {
    const { chorus, stream, clock } = await onClock("k1");
    server.cutAll();
    await until("the loss", () => chorus.connection.phase === "waiting");
    clock.set(byMs);
    assert.ok((chorus.connection.retryAtMs ?? 0) - chorus.nowMs() <= 500, "nor what is shown of it");
    clock.advance(500);
    await until("joined anew", () => stream.view?.joined === true);
  });

  test(`a clock set ${set} by an hour does not delay the silence probe`, async () => {
    const { chorus, clock } = await onClock("k2");
    server.silenceAll();
    clock.set(byMs);
    clock.advance(CONNECTION_DEFAULT.silenceMs + CONNECTION_DEFAULT.pongTimeoutMs);
    assert.notEqual(chorus.connection.phase, "open");
  });

  test(`a clock set ${set} by an hour ends no post, and its reading of the day is the only thing taken from it`, async () => {
    const { stream, clock } = await onClock("k3");
    clock.set(byMs);
    server.silenceAll();
    const clientId = stream.post("hello");
    clock.advance(4_000);
    assert.equal(statusOf(stream, clientId), "sending");
    assert.equal(stream.posts[0]?.postedAtMs, clock.wallMs() - 4_000);
  });
}

for (const stopped of [true, false]) {
  test(`after a sleep the connection is probed at once (monotonic clock ${stopped ? "stopped" : "went on"})`, async () => {
    const { chorus, clock } = await onClock("k4");
    clock.advance(1_000);
    const before = pings();
    clock.sleep(8 * HOUR_MS, stopped);
    // What is left of the tick that was running when it fell asleep.
    clock.advance(4_000);
    assert.equal(pings(), before + 1);
    assert.equal(chorus.connection.phase, "open");
  });
}

test("a quiet connection is not probed for nothing", async () => {
  const { clock } = await onClock("k5");
  const before = pings();
  clock.advance(CONNECTION_DEFAULT.silenceMs - 1_000);
  assert.equal(pings(), before);
});

test("the system's clock for durations does not follow the time of day", (t) => {
  const before = systemClock.nowMs();
  t.mock.method(Date, "now", () => 0);
  assert.ok(systemClock.nowMs() >= before);
  assert.equal(systemClock.wallMs(), 0);
});

test("keys are UUIDs, also on a plain http page and where there is no crypto at all", (t) => {
  const original = Object.getOwnPropertyDescriptor(globalThis, "crypto") as PropertyDescriptor;
  t.after(() => Object.defineProperty(globalThis, "crypto", original));
  const real = globalThis.crypto;
  const getRandomValues = real.getRandomValues.bind(real);
  for (const value of [real, { getRandomValues }, {}, undefined]) {
    Object.defineProperty(globalThis, "crypto", { value, configurable: true });
    const ids = Array.from({ length: 1_000 }, newClientId);
    for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.equal(new Set(ids).size, 1_000);
  }
});

test("a post goes out where crypto.randomUUID is missing", async (t) => {
  const original = Object.getOwnPropertyDescriptor(globalThis, "crypto") as PropertyDescriptor;
  t.after(() => Object.defineProperty(globalThis, "crypto", original));
  const { token } = await devToken(server.url, "ada");
  const { stream } = viewer(server, "k6", { token });
  await until("joined", () => stream.view?.joined === true);
  Object.defineProperty(globalThis, "crypto", { value: {}, configurable: true });
  const clientId = stream.post("hello");
  Object.defineProperty(globalThis, "crypto", original);
  await until("durable", () => statusOf(stream, clientId) === "durable");
});
