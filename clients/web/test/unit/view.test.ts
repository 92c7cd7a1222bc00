import assert from "node:assert/strict";
import { test } from "node:test";
import { compareIds, tokenUserId } from "../../src/sdk/ids.js";
import { cleanContent, scalarCount } from "../../src/sdk/text.js";
import { timeline } from "../../src/sdk/timeline.js";
import { batch, comment, events, joined, Rig, token } from "./support.js";

test("ids compare as numbers beyond what a number holds", () => {
  assert.ok(compareIds("9", "10") < 0);
  assert.ok(compareIds("9007199254740993", "9007199254740992") > 0);
  assert.equal(compareIds("42", "42"), 0);
});

test("text is measured as the server measures it", () => {
  assert.equal(scalarCount("  \u0085héllo 👍🏽 \n"), 8);
  assert.equal(cleanContent("\uFEFFx"), "\uFEFFx", "a BOM is no White_Space");
  assert.equal(cleanContent("a\uD83Db"), "a\uFFFDb");
});

test("a token that is none is read as nothing", () => {
  assert.equal(tokenUserId(token("ü1")), "ü1");
  assert.equal(tokenUserId("x"), null);
});

test("comments are inserted by id and repeats are dropped", () => {
  const rig = Rig.joined();
  rig.receive(batch([comment(5), comment(9)]));
  const effects = rig.receive(batch([comment(7), comment(9), comment(10)]));
  assert.deepEqual(rig.ids(), ["5", "7", "9", "10"]);
  assert.deepEqual(events(effects, "comments")[0]?.added.map((held) => held.id), ["7", "10"]);
  assert.equal(events(rig.receive(batch([comment(7)])), "comments").length, 0);
});

test("only the newest are kept, and an old repeat does not come back", () => {
  const rig = Rig.joined({ commentsMax: 3 });
  rig.receive(batch([1, 2, 3, 4, 5].map((id) => comment(id))));
  assert.deepEqual(rig.ids(), ["3", "4", "5"]);
  assert.equal(events(rig.receive(batch([comment(1)])), "comments").length, 0);
  assert.deepEqual(rig.ids(), ["3", "4", "5"]);
});

test("a gap stands where the hole is, and not on a first join", () => {
  const rig = Rig.joined();
  rig.receive(batch([comment(5)]));
  assert.deepEqual(rig.core.views.get("demo")?.gaps, []);
  rig.lose();
  const effects = rig.comeBack(joined({ gap: true, comments: [comment(50), comment(51)] }));
  assert.equal(events(effects, "joined")[0]?.gap, true);
  const view = rig.core.views.get("demo");
  assert.ok(view);
  assert.deepEqual(timeline(view, []).map((item) => item.key), ["comment 5", "gap 5", "comment 50", "comment 51"]);

  const first = new Rig();
  first.feed({ type: "join", streamId: "demo" });
  first.feed({ type: "start" });
  first.feed({ type: "opened" });
  first.receive(joined({ gap: true, comments: [comment(50)] }));
  assert.deepEqual(first.core.views.get("demo")?.gaps, []);
});

test("reaction totals replace, and say by how much they grew", () => {
  const rig = Rig.joined();
  rig.receive(joined({ reactions: { like: 10 } }));
  const effects = rig.receive({
    type: "reactions_batch",
    payload: { stream_id: "demo", counts: { like: 13, constructor: 2 }, comments: { "5": { like: 1 } } },
  });
  assert.deepEqual({ ...events(effects, "reactions")[0]?.growth }, { like: 3, constructor: 2 });
  assert.deepEqual({ ...rig.core.views.get("demo")?.reactions }, { like: 13, constructor: 2 });
});

test("an update changes only its fields", () => {
  const rig = Rig.joined();
  rig.receive(batch([comment(5, "hello")]));
  rig.receive({ type: "comment_updated", payload: { stream_id: "demo", comment_id: "5", pinned: true } });
  const view = rig.core.views.get("demo");
  assert.equal(view?.get("5")?.content, "hello");
  assert.equal(view?.pinnedId, "5");
});

test("unknown messages and other streams are ignored", () => {
  const rig = Rig.joined();
  assert.deepEqual(rig.receive({ type: "fireworks", payload: { stream_id: "demo" } } as never), []);
  assert.deepEqual(rig.receive({ type: "viewer_count", payload: { stream_id: "other", count: 3 } }), []);
});
