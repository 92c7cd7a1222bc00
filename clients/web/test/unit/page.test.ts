import assert from "node:assert/strict";
import { test } from "node:test";
import { Backlog } from "../../src/page/backlog.js";
import { Drafts, EMPTY } from "../../src/page/drafts.js";
import { Earlier } from "../../src/page/earlier.js";
import { Pace } from "../../src/page/pace.js";
import { closedWords, REASON_WORDS, standing } from "../../src/page/words.js";
import { REASONS } from "../../src/sdk/codes.js";
import type { Comment } from "../../src/sdk/protocol.js";
import { comment } from "./support.js";

const refused = (clientId: string, content: string) => ({ clientId, content, parentId: null }) as never;

test("editing a refused comment puts the draft away and brings it back", () => {
  const drafts = new Drafts();
  const draft = { text: "half a thought", parentId: "7", editing: null };
  const first = drafts.edit(draft, refused("a", "refused"));
  assert.deepEqual(first, { text: "refused", parentId: null, editing: "a" });
  assert.equal(drafts.edit(first, refused("a", "refused")), first, "the same one again changes nothing");
  const second = drafts.edit({ ...first, text: "refused, changed" }, refused("b", "also refused"));
  assert.equal(second.text, "also refused");
  assert.equal(drafts.edit(second, refused("a", "refused")).text, "refused, changed", "half changed is not lost either");
  assert.equal(drafts.done().text, "also refused");
  assert.deepEqual(drafts.done(), draft);
  assert.deepEqual(drafts.done(), EMPTY);
});

test("an empty draft is not kept", () => {
  const drafts = new Drafts();
  drafts.edit({ ...EMPTY, text: "  " }, refused("a", "refused"));
  assert.equal(drafts.next, null);
});

/** Pages of ten of the ids 1 to `count`, newest first, as the origin answers. */
function pages(count: number): { asked: (string | undefined)[]; read: (before: string | undefined) => Promise<{ comments: Comment[]; next: string | null }> } {
  const asked: (string | undefined)[] = [];
  return {
    asked,
    read: async (before) => {
      asked.push(before);
      const end = before === undefined ? count : Number(before) - 1;
      const from = Math.max(1, end - 9);
      const comments = Array.from({ length: end - from + 1 }, (_, n) => comment(end - n));
      return { comments, next: from > 1 ? String(from) : null };
    },
  };
}

test("history is paged back to its end, and then not asked again", async () => {
  const held = new Backlog();
  held.arrived([comment(24), comment(25)]);
  const { asked, read } = pages(25);
  const earlier = new Earlier(held, read, () => {});
  while (earlier.state === "idle") await earlier.load();
  assert.equal(earlier.state, "end");
  assert.deepEqual(asked, ["24", "14", "4"]);
  assert.equal(held.size, 25);
  await earlier.load();
  assert.equal(asked.length, 3);
});

test("a page that fails is said and can be tried again, and two are never under way", async () => {
  const held = new Backlog();
  held.arrived([comment(20)]);
  const { read } = pages(20);
  let asked = 0;
  const states: string[] = [];
  const earlier = new Earlier(
    held,
    (before) => {
      asked += 1;
      return asked === 1 ? Promise.reject(new Error("no network")) : read(before);
    },
    () => states.push(earlier.state),
  );
  await Promise.all([earlier.load(), earlier.load()]);
  assert.deepEqual([asked, earlier.state, earlier.problem], [1, "failed", "no network"]);
  await earlier.load();
  assert.deepEqual(states, ["loading", "failed", "loading", "idle"]);
  assert.equal(held.size, 11);
});

test("a page that no longer joins what is held is not taken", async () => {
  const held = new Backlog({ followDrawn: 2, readDrawn: 2, step: 1, followHeld: 3, readHeld: 9 });
  held.arrived([comment(20)]);
  const { read } = pages(40);
  const earlier = new Earlier(held, (before) => {
    held.arrived([21, 22, 23, 24].map((id) => comment(id)));
    return read(before);
  }, () => {});
  await earlier.load();
  assert.deepEqual([held.size, held.oldestId], [3, "22"]);
  assert.equal(earlier.state, "idle");
});

test("the pace is fast from three comments a second on, and slow again later than that", () => {
  const pace = new Pace();
  let nowMs = 0;
  for (let n = 0; n < 14; n += 1) assert.equal(pace.arrived(1, (nowMs += 100)), false);
  assert.equal(pace.arrived(1, nowMs), true);
  assert.equal(pace.fast, true);
  assert.equal(pace.arrived(0, nowMs + 3_000), false);
  assert.equal(pace.arrived(0, nowMs + 6_000), true);
  assert.equal(pace.fast, false);
});

test("the page says what a stream is: also that it ended, and that there is none", () => {
  const now = { phase: "open", joined: true, status: null, missing: false } as const;
  assert.equal(standing(now), "live");
  assert.equal(standing({ ...now, joined: false }), "connecting");
  assert.equal(standing({ ...now, status: "scheduled" }), "scheduled");
  assert.equal(standing({ ...now, status: "ended", joined: false }), "ended");
  assert.equal(standing({ ...now, phase: "connecting", joined: false, missing: true }), "unknown");
  assert.equal(standing({ ...now, phase: "closed", joined: false }), "offline");
  assert.equal(closedWords("ended", true), "The stream has ended");
  assert.equal(closedWords("unknown", true), "There is no such stream");
  assert.equal(closedWords("live", false), "Comments are switched off");
  assert.equal(closedWords("live", true), null);
});

test("every reason of a receipt has words", () => {
  assert.deepEqual(REASONS.filter((reason) => !(reason in REASON_WORDS)), []);
});
