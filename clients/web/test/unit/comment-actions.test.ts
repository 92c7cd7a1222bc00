/** What a viewer may do about a comment on the page: who may, two presses, and what is shown meanwhile. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Backlog } from "../../src/page/backlog.js";
import { COMMENT_ACTIONS, CommentActions, failureWords, type CommentAction } from "../../src/page/comment-actions.js";
import { Earlier } from "../../src/page/earlier.js";
import { neighbour } from "../../src/page/roving.js";
import { DecisionError } from "../../src/sdk/index.js";
import { comment } from "./support.js";

const named = (name: string): CommentAction => {
  const found = COMMENT_ACTIONS.find((action) => action.name === name);
  assert.ok(found);
  return found;
};
const remove = named("delete");
const error = (code: string) =>
  new DecisionError({ streamId: "demo", action: "delete", commentId: "7", clientId: "d1", code, message: null, retryAtMs: null });

/** Actions whose answers the test gives. */
function begun(action = remove) {
  const asked: { id: string; done: () => void; fail: (error: Error) => void }[] = [];
  const failures: string[] = [];
  const actions = new CommentActions(
    (_action, { id }) => new Promise((done, fail) => asked.push({ id, done, fail })),
    (failure) => failure !== undefined && failures.push(failure),
  );
  const made = {
    press: (id: string) => actions.press(action, comment(Number(id))),
    of: (id: string) => actions.of(action, id),
    gone: (ids: string[]) => actions.gone(ids),
    cancel: () => actions.cancel(),
    get asking() {
      return actions.asking;
    },
  };
  return { made, asked, failures };
}
const settled = () => new Promise((done) => setImmediate(done));

test("the author and the moderators may, nobody else", () => {
  const mine = comment(7, "mine", "u1");
  assert.equal(remove.may(mine, "u1", "user"), true);
  assert.equal(remove.may(mine, "u1", "anonymous"), true, "signed in after the join");
  assert.equal(remove.may(mine, "u2", "user"), false);
  assert.equal(remove.may(mine, null, "moderator"), false, "signed out since");
  for (const role of ["moderator", "broadcaster", "admin"]) assert.equal(remove.may(mine, "u2", role), true);
  assert.equal(remove.may(mine, "u2", "somebody-new"), false);
});

test("moderators highlight by one press, and end it by another", async () => {
  const highlight = named("highlight");
  const mine = comment(7, "mine", "u1");
  assert.equal(highlight.may(mine, "u1", "user"), false, "not even its author");
  assert.equal(highlight.may(mine, "u2", "broadcaster"), true);
  assert.equal(highlight.asks, null);
  const done: string[] = [];
  const stream = {
    deleteComment: () => Promise.reject(new Error("not this")),
    moderate: (action: string, fields: Record<string, unknown>) => (done.push(`${action} ${fields["comment_id"]}`), Promise.resolve()),
  };
  await highlight.run(stream, mine);
  await highlight.run(stream, { ...mine, highlighted: true });
  assert.deepEqual(done, ["highlight 7", "unhighlight 7"]);
  assert.notEqual(highlight.symbol(mine), highlight.symbol({ ...mine, highlighted: true }));
});

test("the first press asks, the second takes it away, once", async () => {
  const { made, asked } = begun();
  made.press("7");
  assert.deepEqual([made.of("7"), made.asking, asked.length], ["asked", true, 0]);
  made.press("7");
  assert.deepEqual([made.of("7"), made.asking, asked.length], ["waiting", false, 1]);
  made.press("7");
  assert.equal(asked.length, 1);
  asked[0]?.done();
  await settled();
  assert.equal(made.of("7"), null);
});

test("an action that asks nothing is done by one press", async () => {
  const { made, asked } = begun({ ...remove, name: "other", asks: null });
  made.press("7");
  made.press("7");
  assert.deepEqual([made.of("7"), made.asking, asked.length], ["waiting", false, 1]);
  asked[0]?.done();
  await settled();
  assert.equal(made.of("7"), null);
});

test("one question at a time, and it can be taken back", () => {
  const { made, asked } = begun();
  made.press("7");
  made.press("8");
  assert.deepEqual([made.of("7"), made.of("8")], [null, "asked"]);
  assert.equal(made.cancel(), true);
  assert.equal(made.cancel(), false);
  made.press("8");
  assert.deepEqual([made.of("8"), asked.length], ["asked", 0]);
});

test("a failure says why until it is tried again", async () => {
  const { made, asked, failures } = begun();
  made.press("7");
  made.press("7");
  asked[0]?.fail(error("forbidden"));
  await settled();
  assert.deepEqual(made.of("7"), { failed: "not deleted: only its author and the moderators may delete it" });
  assert.equal(failures.length, 1);
  made.press("7");
  assert.equal(made.of("7"), "asked");
});

test("a comment that is gone has no more to say, however its own removal ends", async () => {
  const { made, asked, failures } = begun();
  made.press("7");
  made.press("7");
  made.press("8");
  made.gone(["7", "8"]);
  assert.deepEqual([made.of("7"), made.of("8"), made.asking], [null, null, false]);
  asked[0]?.fail(error("unconfirmed"));
  await settled();
  assert.deepEqual([made.of("7"), failures], [null, []]);
});

test("failures are bounded", async () => {
  const { made, asked } = begun();
  for (let id = 1; id <= 30; id += 1) {
    made.press(String(id));
    made.press(String(id));
  }
  for (const { fail } of asked) fail(error("unavailable"));
  await settled();
  assert.deepEqual([made.of("10"), typeof made.of("11"), typeof made.of("30")], [null, "object", "object"]);
});

test("every failure has words", () => {
  assert.match(failureWords(remove, error("unconfirmed")), /may or may not/);
  assert.match(failureWords(remove, error("not_joined")), /not connected/);
  assert.equal(failureWords(remove, error("of_a_later_version")), "not deleted: of_a_later_version");
  assert.match(failureWords(remove, new Error("odd")), /odd/);
});

test("a removed comment does not come back with a page of history, nor with a batch", async () => {
  const held = new Backlog();
  held.arrived([comment(24), comment(25)]);
  const earlier = new Earlier(held, async () => ({ comments: [comment(23), comment(22)], next: null }), () => {});
  const loading = earlier.load();
  // While the page is under way.
  held.remove(["23", "25", "26"]);
  await loading;
  held.arrived([comment(25), comment(26), comment(27)]);
  assert.deepEqual(held.drawn().comments.map(({ id }) => id), ["22", "24", "27"]);
  assert.deepEqual([held.isRemoved("23"), held.isRemoved("24")], [true, false]);
});

test("the focus goes to the next line that stays, or else to the one before", () => {
  interface Line {
    name: string;
    nextElementSibling: Line | null;
    previousElementSibling: Line | null;
  }
  const row: Line[] = ["a", "b", "c", "d"].map((name) => ({ name, nextElementSibling: null, previousElementSibling: null }));
  row.forEach((line, at) => {
    line.nextElementSibling = row[at + 1] ?? null;
    line.previousElementSibling = row[at - 1] ?? null;
  });
  const from = (at: number, stay: string) => neighbour(row[at] as Line, (line) => stay.includes(line.name))?.name;
  assert.equal(from(1, "acd"), "c");
  assert.equal(from(1, "ad"), "d");
  assert.equal(from(2, "ab"), "b");
  assert.equal(from(3, "a"), "a");
  assert.equal(from(0, ""), undefined);
});
