/** The shell over real sockets: that it carries out what the core decides. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { WebSocket as NodeWebSocket } from "ws";
import { Chorus, CONNECTION_DEFAULT, devToken, DecisionError, type StreamHandle } from "../../src/sdk/index.js";
import { fakeServer, type FakeServer } from "../fake-server.mjs";

let server: FakeServer;
before(async () => {
  server = await fakeServer();
});
after(() => server.stop());

const open: Chorus[] = [];

async function viewer(name: string, streamId: string): Promise<{ chorus: Chorus; stream: StreamHandle }> {
  const { token } = await devToken(server.url, name);
  const backoff = { baseMs: 20, capMs: 100, overloadedMinMs: 50 };
  const chorus = new Chorus({
    url: `${server.url.replace("http", "ws")}/v1/ws`,
    token,
    WebSocket: NodeWebSocket as unknown as typeof WebSocket,
    config: { connection: { ...CONNECTION_DEFAULT, backoff } },
  });
  open.push(chorus);
  const stream = chorus.join(streamId);
  chorus.start();
  await until(() => stream.view?.joined === true);
  return { chorus, stream };
}
after(() => open.forEach((chorus) => chorus.stop()));

async function until(check: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 5_000; !check(); await new Promise((done) => setTimeout(done, 5))) {
    assert.ok(Date.now() < deadline, "waited 5 s in vain");
  }
}

const texts = (stream: StreamHandle): string[] => stream.view?.comments.map((held) => held.content) ?? [];

test("a comment crosses, and its sender learns that it is durable", async () => {
  const ada = await viewer("ada", "s1");
  const grace = await viewer("grace", "s1");
  const clientId = ada.stream.post("hello");
  await until(() => texts(grace.stream).includes("hello"));
  await until(() => ada.stream.posts.find((post) => post.clientId === clientId)?.status === "durable");
  assert.equal(ada.stream.timeline().length, 1);
});

test("deleteComment resolves once it is applied, for both presses at once, and rejects with a code", async () => {
  const ada = await viewer("ada", "s-delete");
  const grace = await viewer("grace", "s-delete");
  ada.stream.post("not for long");
  await until(() => texts(grace.stream).length === 1);
  const id = grace.stream.view?.comments[0]?.id ?? "";
  await assert.rejects(grace.stream.deleteComment(id), (error) => error instanceof DecisionError && error.code === "forbidden");
  await assert.rejects(ada.stream.deleteComment("1"), { code: "comment_not_found" });
  const first = ada.stream.deleteComment(id);
  assert.equal(ada.stream.deleteComment(id), first);
  await first;
  assert.deepEqual(texts(ada.stream), []);
  await until(() => texts(grace.stream).length === 0);
  await ada.stream.deleteComment(id);
  const late = await viewer("late", "s-delete");
  assert.deepEqual([texts(late.stream), late.stream.view?.commentCount], [[], 0]);
});

test("cut without a word, both come back and nothing is lost or doubled", async () => {
  const ada = await viewer("ada", "s2");
  const grace = await viewer("grace", "s2");
  ada.stream.post("before");
  await until(() => texts(grace.stream).length === 1);
  server.cutAll();
  ada.stream.post("during");
  await until(() => texts(grace.stream).includes("during"));
  ada.stream.post("behind");
  await until(() => texts(grace.stream).includes("behind"));
  assert.deepEqual(texts(grace.stream), ["before", "during", "behind"]);
  await until(() => ada.stream.posts.every((post) => post.status === "durable"));
});

test("1001 brings the viewer back, 4403 does not", async () => {
  const { chorus, stream } = await viewer("ada", "s3");
  server.closeAll(1001);
  await until(() => stream.view?.joined === false);
  await until(() => stream.view?.joined === true);
  server.closeAll(4403);
  await until(() => chorus.connection.phase === "closed");
  assert.equal(chorus.connection.code, 4403);
});

test("several streams share one socket", async () => {
  const { chorus, stream } = await viewer("ada", "s4");
  const other = chorus.join("s5");
  await until(() => other.view?.joined === true);
  stream.post("in four");
  other.post("in five");
  await until(() => texts(stream).length === 1 && texts(other).length === 1);
  assert.deepEqual([texts(stream), texts(other)], [["in four"], ["in five"]]);
});

test("a listener may post and join from within an event", async () => {
  const { chorus, stream } = await viewer("ada", "s6");
  chorus.on("comments", ({ streamId, added }) => {
    if (streamId === "s6" && added[0]?.content === "first") stream.post("second");
  });
  stream.post("first");
  await until(() => texts(stream).length === 2);
});
