import assert from "node:assert/strict";
import { test } from "node:test";
import { Backlog } from "../../src/page/backlog.js";
import { lines } from "../../src/page/lines.js";
import type { OwnPost } from "../../src/sdk/outbox.js";
import { comment } from "./support.js";

const LIMITS = { followDrawn: 4, readDrawn: 8, step: 3, followHeld: 10, readHeld: 20 };

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, n) => comment(from + n));
const ids = (comments: readonly { id: string }[]) => comments.map(({ id }) => Number(id));

function backlog(from: number, to: number): Backlog {
  const made = new Backlog(LIMITS);
  made.arrived(range(from, to));
  return made;
}

test("while the newest are followed both what is held and what is drawn lose their oldest", () => {
  const held = backlog(100, 130);
  assert.equal(held.size, 10);
  assert.deepEqual(held.drawn(), { comments: range(127, 130), atStart: false, atEnd: true });
  held.arrived([comment(129)]);
  assert.equal(held.size, 10, "a repeat is dropped");
});

test("while earlier ones are read nothing that is drawn is dropped, whatever arrives", () => {
  const held = backlog(100, 109);
  held.read();
  const before = ids(held.drawn().comments);
  for (let id = 110; id < 1_000; id += 1) held.arrived([comment(id)]);
  assert.deepEqual(ids(held.drawn().comments), before);
  assert.equal(held.drawn().atEnd, false);
  assert.equal(held.newerThan("109"), 890, "held or not, each is counted");
});

test("beyond the bound the newest are counted, what is held has no hole, and going back shows the last of them", () => {
  const held = backlog(100, 109);
  held.read();
  held.arrived(range(110, 200));
  assert.equal(held.size, LIMITS.readHeld);
  assert.equal(held.skipped, 81);
  held.remove(["105"]);
  held.arrived([comment(201)]);
  assert.equal(held.newestId, "119", "what follows a skipped comment is skipped, too");
  while (held.moveDown());
  assert.equal(held.drawn().atEnd, false, "the end of what is held is not the end of the stream");

  held.follow(range(150, 201));
  assert.equal(held.skipped, 0);
  assert.deepEqual(ids(held.drawn().comments), [198, 199, 200, 201]);
  assert.equal(held.oldestId, "192", "what was before the hole is gone: nothing pretends to join it");
});

test("the drawn part moves over what is held and stays bounded", () => {
  const held = backlog(100, 109);
  assert.ok(held.moveUp());
  assert.deepEqual(ids(held.drawn().comments), ids(range(103, 109)));
  assert.ok(held.moveUp());
  assert.deepEqual(ids(held.drawn().comments), ids(range(100, 107)), "eight at the most: the end of it is let go");
  assert.equal(held.drawn().atStart, true);
  assert.equal(held.moveUp(), false);
  assert.ok(held.moveDown());
  assert.deepEqual(ids(held.drawn().comments), ids(range(102, 109)));
  assert.equal(held.moveDown(), false);
});

test("a page of history goes before what is held, once, and what was removed stays away", () => {
  const held = backlog(100, 105);
  held.read();
  held.remove(["97"]);
  assert.equal(held.earlier(range(95, 101).reverse()), 4);
  assert.equal(held.oldestId, "95");
  assert.equal(held.drawn().atStart, false);
  held.show("95");
  assert.deepEqual(ids(held.drawn().comments).slice(0, 4), [95, 96, 98, 99]);
});

test("history beyond the bound lets go of the newest, which the reader is farthest from", () => {
  const held = backlog(100, 109);
  for (const oldest of [90, 80, 70]) {
    held.earlier(range(oldest, oldest + 9));
    while (held.moveUp());
  }
  assert.equal(held.size, LIMITS.readHeld);
  assert.equal(held.oldestId, "70");
  assert.equal(held.skipped, 20);
});

test("a removed comment at the end of the drawn part takes nothing else with it", () => {
  const held = backlog(100, 109);
  held.read();
  held.remove(["106", "109"]);
  assert.deepEqual(ids(held.drawn().comments), [107, 108]);
  held.arrived([comment(110)]);
  assert.deepEqual(ids(held.drawn().comments), [107, 108]);
});

const post = (fields: Partial<OwnPost>): OwnPost => ({
  clientId: "c-1",
  streamId: "demo",
  content: "mine",
  parentId: null,
  postedAtMs: 0,
  status: "sending",
  commentId: null,
  reason: null,
  message: null,
  retryAtMs: null,
  attempts: 1,
  anchorId: "",
  removed: false,
  ...fields,
});
const keys = (held: Backlog, posts: OwnPost[]) => lines(held, posts).map(({ key }) => key.replace("comment ", ""));

test("own posts and gaps stand where they belong, and only where that is drawn", () => {
  const held = backlog(100, 109);
  held.gapAfter("107");
  held.gapAfter("101");
  const refused = post({ clientId: "no", status: "rejected", anchorId: "108" });
  const open = post({ clientId: "open" });
  assert.deepEqual(keys(held, [refused, open]), ["106", "107", "gap 107", "108", "post no", "109", "post open"]);

  held.read();
  held.arrived(range(110, 112));
  assert.deepEqual(keys(held, [refused, open]), ["106", "107", "gap 107", "108", "post no", "109"], "the end is elsewhere now");
  held.show("100");
  assert.deepEqual(keys(held, [refused, open]), ["100", "101", "gap 101", "102", "103"]);
});

test("a refused post stays where nothing has been written yet", () => {
  const held = new Backlog(LIMITS);
  assert.deepEqual(keys(held, [post({ status: "rejected" })]), ["post c-1"]);
  held.arrived([comment(100)]);
  assert.deepEqual(keys(held, [post({ status: "rejected" })]), ["post c-1", "100"]);
});
