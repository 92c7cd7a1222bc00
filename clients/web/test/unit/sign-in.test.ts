/** Signing in over real sockets: tokens that are stale, foreign, another user's, or none. */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { devToken, type AuthState } from "../../src/sdk/index.js";
import { fakeServer, type FakeServer } from "../fake-server.mjs";
import { statusOf, stopAll, texts, until, viewer } from "./shell.js";
import { token } from "./support.js";

let server: FakeServer;
before(async () => {
  server = await fakeServer();
});
afterEach(() => {
  stopAll();
  server.setKey("x");
});
after(() => server.stop());

const newToken = async (name: string): Promise<string> => (await devToken(server.url, name)).token;

test("a token of another key: one new token, and what was written gets through once", async () => {
  let questions = 0;
  const stale = await newToken("ada");
  server.setKey("after the reset");
  const refreshToken = (): Promise<string> => {
    questions += 1;
    return newToken("ada");
  };
  const { stream } = viewer(server, "a1", { token: stale, refreshToken });
  const clientId = stream.post("hello");
  await until("durable", () => statusOf(stream, clientId) === "durable");
  assert.equal(questions, 1);
  assert.deepEqual(texts(stream), ["hello"]);
});

test("keys that change under an open connection: it comes back with a new token", async () => {
  const { chorus, stream } = viewer(server, "a2", { token: await newToken("ada"), refreshToken: () => newToken("ada") });
  await until("joined", () => stream.view?.joined === true);
  server.setKey("after the reset");
  server.cutAll();
  const clientId = stream.post("hello");
  await until("durable", () => statusOf(stream, clientId) === "durable");
  assert.equal(chorus.auth.status, "signed_in");
});

test("a token that expires under way: the refused post goes out again and is stored once", async () => {
  const { stream } = viewer(server, "a3", { token: await newToken("ada"), refreshToken: () => newToken("ada") });
  const first = stream.post("first");
  await until("durable", () => statusOf(stream, first) === "durable");
  server.expireAll();
  const clientIds = [stream.post("second"), stream.post("third")];
  await until("durable", () => clientIds.every((clientId) => statusOf(stream, clientId) === "durable"));
  assert.deepEqual(texts(stream), ["first", "second", "third"]);
});

const apps: Record<string, (() => Promise<string | null>) | undefined> = {
  "nothing to ask": undefined,
  "an app that says null": async () => null,
  "an app that throws": async () => Promise.reject(new Error("no")),
  "an app that returns the same": async () => token("ada"),
  "an app that never answers": () => new Promise(() => {}),
};
for (const [name, refreshToken] of Object.entries(apps)) {
  test(`a token of another key and ${name}: signed out and told so, reading goes on, signing in is possible`, async () => {
    server.setKey("after the reset");
    const states: AuthState[] = [];
    const { chorus, stream } = viewer(server, "a4", {
      token: token("ada"),
      ...(refreshToken && { refreshToken }),
      config: { auth: { asksMax: 3, asksWindowMs: 60_000, askAgainMs: 5, answerTimeoutMs: 200 } },
    });
    chorus.on("auth", (state) => states.push(state));
    const clientId = stream.post("hello");
    await until("signed out", () => chorus.auth.status === "signed_out");
    assert.equal(chorus.auth.reason, "invalid_token");
    assert.deepEqual(states.at(-1), chorus.auth);
    assert.equal(statusOf(stream, clientId), "rejected");
    await until("reading", () => stream.view?.joined === true);
    assert.equal(chorus.connection.phase, "open");
    chorus.setToken(await newToken("ada"));
    stream.retry(clientId);
    await until("durable", () => statusOf(stream, clientId) === "durable");
  });
}

test("a refresh without an initial token", async () => {
  const { chorus, stream } = viewer(server, "a5", { refreshToken: () => newToken("grace") });
  const clientId = stream.post("hello");
  await until("durable", () => statusOf(stream, clientId) === "durable");
  assert.equal(chorus.userId, "u-grace");
});

test("setToken of another user writes as that user, on a connection of its own", async () => {
  const { chorus, stream } = viewer(server, "a6", { token: await newToken("ada") });
  const first = stream.post("from ada");
  await until("durable", () => statusOf(stream, first) === "durable");
  const connections = server.connections();
  chorus.setToken(await newToken("grace"));
  const second = stream.post("from grace");
  await until("durable", () => statusOf(stream, second) === "durable");
  assert.equal(server.connections(), connections + 1);
  assert.deepEqual(stream.view?.comments.map((held) => held.username), ["ada", "grace"]);
});

test("setToken(null) signs out: it reads, and what it writes is refused at once", async () => {
  const { chorus, stream } = viewer(server, "a7", { token: await newToken("ada") });
  const other = viewer(server, "a7", { token: await newToken("grace") });
  await until("joined", () => stream.view?.joined === true && stream.view.role === "user");
  chorus.setToken(null);
  await until("joined anew", () => stream.view?.joined === true && stream.view.role === "anonymous");
  assert.equal(statusOf(stream, stream.post("me?")), "rejected");
  other.stream.post("heard");
  await until("the comment", () => texts(stream).includes("heard"));
});

test("REST 401 counts: one new token, and the request goes out again with it", async () => {
  let questions = 0;
  const refreshToken = (): Promise<string> => {
    questions += 1;
    return newToken("ada");
  };
  const { chorus, stream } = viewer(server, "a8", { token: await newToken("ada"), refreshToken });
  await until("joined", () => stream.view?.joined === true);
  assert.equal((await chorus.fetch(`${server.url}/api/me`)).status, 200);
  server.setKey("after the reset");
  const answers = await Promise.all([chorus.fetch(`${server.url}/api/me`), chorus.fetch(`${server.url}/api/me`)]);
  assert.deepEqual(answers.map((answer) => answer.status), [200, 200]);
  assert.equal(questions, 1);
});

test("REST 401 without a better token is the answer, and the viewer is signed out", async () => {
  const { chorus, stream } = viewer(server, "a9", { token: await newToken("ada") });
  await until("joined", () => stream.view?.joined === true);
  server.setKey("after the reset");
  assert.equal((await chorus.fetch(`${server.url}/api/me`)).status, 401);
  assert.equal(chorus.auth.status, "signed_out");
  assert.equal((await chorus.fetch(`${server.url}/api/me`)).status, 401);
});
