/** The reference's examples are messages that this client understands. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Rig } from "./support.js";

const CLIENT = ["authenticate", "join_stream", "leave_stream", "post_comment", "react", "unreact", "delete_comment", "moderate", "report", "ping"];
const SERVER = ["joined", "comments_batch", "comments_removed", "comment_updated", "receipt", "reactions_batch", "viewer_count", "stream_updated", "notice", "mention", "error", "pong"];

const examples = [...readFileSync("../protocol.md", "utf8").matchAll(/```json\n([\s\S]*?)```/g)]
  .map((match) => JSON.parse(match[1] ?? "") as { type?: string; payload?: unknown })
  .filter((example) => example.payload !== undefined);

test("every message has an example, and every example is a message", () => {
  const types = examples.map((example) => example.type ?? "");
  assert.deepEqual(new Set(types), new Set([...CLIENT, ...SERVER]));
});

test("the server's examples make a stream", () => {
  const rig = Rig.joined();
  rig.post("0f7e0f0e-7b2f-4a53-9a55-0b0b8d0f6c11", "What a goal!");
  const kinds = examples
    .filter((example) => SERVER.includes(example.type ?? ""))
    .map((example) => [example.type, rig.receive(example as never).filter((effect) => effect.type === "emit").length]);
  assert.deepEqual(kinds.filter(([type, count]) => count === 0 && type !== "pong"), []);
  assert.equal(rig.core.views.get("demo")?.comments.length, 2);
  assert.equal(rig.core.outbox.get("0f7e0f0e-7b2f-4a53-9a55-0b0b8d0f6c11")?.status, "durable");
});
