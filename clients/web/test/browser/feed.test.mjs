/** The list of comments under load, in history and by keyboard: `CHORUS_URL=http://host:port npm run test:browser`. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, newStream, open, until, write } from "./support.mjs";

/** As many lines as the list may have while the newest are followed, and while earlier ones are read. */
const FOLLOW_LINES = 80;
const READ_LINES = 300;

let browser;
const problems = [];
const numbered = (count, from = 0) => Array.from({ length: count }, (_, n) => `number ${from + n}`);

const count = (page) => page.locator("#list li").count();
const texts = (page) => page.locator("#list .text").allTextContents();
const numbers = async (page) => (await texts(page)).map((text) => Number(text.split(" ")[1]));
/** The first line that is wholly within sight, and where it is. */
const reading = (page) =>
  page.evaluate(() => {
    const { top } = document.getElementById("feed").getBoundingClientRect();
    const line = [...document.querySelectorAll("#list li")].find((one) => one.getBoundingClientRect().top >= top);
    return { text: line.querySelector(".text").textContent, top: line.getBoundingClientRect().top };
  });
const atEnd = (page) =>
  page.evaluate(() => {
    const feed = document.getElementById("feed");
    return feed.scrollHeight - feed.scrollTop - feed.clientHeight < 2;
  });

async function wheel(page, delta) {
  await page.locator("#feed").hover();
  await page.mouse.wheel(0, delta);
}

before(async () => {
  browser = await launch();
});

after(async () => {
  await browser?.close();
});

test("the list is bounded, and at its end, however many comments come", async () => {
  const stream = await newStream("bounded");
  const page = await open(browser, stream.id, { problems });
  await write(stream.id, numbered(400));
  await until("the last comment", async () => (await texts(page)).at(-1) === "number 399");
  assert.equal(await count(page), FOLLOW_LINES);
  assert.equal(await atEnd(page), true);
  await page.context().close();
});

test("while scrolled up the comment being read stays, at any rate, and the new ones are counted", async () => {
  const stream = await newStream("read in peace");
  await write(stream.id, numbered(60));
  const page = await open(browser, stream.id, { problems });
  await until("the newest", async () => (await texts(page)).at(-1) === "number 59");
  await wheel(page, -700);
  await page.locator("#new-comments", { hasText: "Newest" }).waitFor();
  const before = await reading(page);
  await write(stream.id, numbered(600, 60));
  await page.locator("#new-comments", { hasText: /6\d\d new comments/ }).waitFor();
  assert.deepEqual(await reading(page), before);
  assert.ok((await count(page)) <= READ_LINES);

  await page.click("#new-comments");
  await until("the newest again", async () => (await texts(page)).at(-1) === "number 659");
  assert.equal(await atEnd(page), true);
  await page.locator("#new-comments").waitFor({ state: "hidden" });
  assert.equal(await count(page), FOLLOW_LINES);
  await page.context().close();
});

test("what is more than the page keeps for a reader is counted and marked, and the newest are a click away", async () => {
  const stream = await newStream("too many");
  await write(stream.id, numbered(60));
  const page = await open(browser, stream.id, { problems });
  await until("the newest", async () => (await texts(page)).at(-1) === "number 59");
  await wheel(page, -700);
  await page.locator("#new-comments", { hasText: "Newest" }).waitFor();
  const before = await reading(page);
  // 6,000 more, as the client tells of them: to write them would take half a minute.
  await page.evaluate(() => {
    const { client, stream } = window.chorus;
    const newest = stream.view.comments.at(-1);
    const added = Array.from({ length: 6_000 }, (_, n) => ({ ...newest, id: String(BigInt(newest.id) + BigInt(n + 1)), content: `number ${60 + n}` }));
    for (let from = 0; from < added.length; from += 200) client.emit({ type: "comments", payload: { streamId: stream.streamId, added: added.slice(from, from + 200) } });
  });
  await page.locator("#new-comments", { hasText: /6,0\d\d new comments/ }).waitFor();
  assert.deepEqual(await reading(page), before);
  await page.locator("#cut", { hasText: "1,050 newer comments are not kept here" }).waitFor({ state: "attached" });
  assert.ok((await count(page)) <= READ_LINES);
  await page.click("#new-comments");
  // The last line is the same before and after: the mark's end says that it was drawn anew.
  await page.locator("#cut").waitFor({ state: "hidden" });
  assert.equal((await texts(page)).at(-1), "number 59");
  await page.context().close();
});

test("a text that is being selected stays where it is", async () => {
  const stream = await newStream("selected");
  await write(stream.id, numbered(90));
  const page = await open(browser, stream.id, { problems });
  await until("the newest", async () => (await texts(page)).at(-1) === "number 89");
  await page.locator(".text", { hasText: "number 89" }).click({ clickCount: 3 });
  const before = await reading(page);
  await write(stream.id, numbered(90, 90));
  await page.locator("#new-comments", { hasText: "90 new comments" }).waitFor();
  assert.deepEqual(await reading(page), before);
  assert.match(await page.evaluate(() => String(document.getSelection())), /number 89/);
  await page.evaluate(() => document.getSelection().removeAllRanges());
  await until("the newest again", async () => (await texts(page)).at(-1) === "number 179");
  await page.context().close();
});

test("scrolling up pages through the whole history, in place, and says where it ends", async () => {
  const stream = await newStream("history");
  await write(stream.id, numbered(180));
  const page = await open(browser, stream.id, { problems });
  await until("the newest", async () => (await texts(page)).at(-1) === "number 179");
  const first = Math.min(...(await numbers(page)));
  assert.ok(first >= 130, "only the newest come with the join");
  // What is in sight when the pages come stays in sight.
  await wheel(page, -1_000_000);
  await until("an earlier page", async () => Math.min(...(await numbers(page))) < first);
  const shown = await numbers(page);
  assert.deepEqual(shown, [...new Set(shown)].sort((a, b) => a - b));
  const kept = await reading(page);
  assert.ok(Number(kept.text.split(" ")[1]) > 0, `the page came above what is read: ${JSON.stringify(kept)}`);

  await until("the first comment", async () => {
    await wheel(page, -1_000_000);
    return (await numbers(page))[0] === 0 && (await page.locator("#earlier[data-state=end]").count()) === 1;
  });
  assert.match(await page.locator("#earlier-said").textContent(), /first comments of this stream/);
  assert.equal(await page.locator("#earlier-load").isVisible(), false);
  const all = await numbers(page);
  assert.deepEqual(all, numbered(all.length).map((_, n) => n), "without a hole and without a repeat");
  assert.ok((await count(page)) <= READ_LINES);
  await page.keyboard.press("End");
  await page.context().close();
});

test("history that cannot be read says so, and is tried again", async () => {
  const stream = await newStream("history fails");
  await write(stream.id, numbered(70));
  const page = await open(browser, stream.id);
  await until("the newest", async () => (await texts(page)).at(-1) === "number 69");
  await page.route("**/api/streams/*/comments?*", (route) => route.abort());
  await wheel(page, -1_000_000);
  await page.locator("#earlier[data-state=failed]").waitFor();
  assert.match(await page.locator("#earlier-said").textContent(), /could not be loaded/);
  await page.unroute("**/api/streams/*/comments?*");
  await page.locator("#earlier-load", { hasText: "Try again" }).click();
  await until("the first comment", async () => (await numbers(page))[0] === 0);
  await page.context().close();
});

test("a short list offers its history by a button", async () => {
  const stream = await newStream("short list");
  await write(stream.id, numbered(3));
  const page = await open(browser, stream.id, { problems });
  await page.locator("#earlier-load").click();
  await page.locator("#earlier[data-state=end]").waitFor();
  assert.deepEqual(await numbers(page), [0, 1, 2]);
  await page.context().close();
});

test("the composer is a few tab stops away, and one by the skip link, whatever the feed holds", async () => {
  const stream = await newStream("keyboard");
  await write(stream.id, numbered(90));
  const page = await open(browser, stream.id, { name: "keys", problems });
  await until("the newest", async () => (await texts(page)).at(-1) === "number 89");
  const focused = () => page.evaluate(() => document.activeElement?.id || document.activeElement?.tagName);
  const stops = [];
  await page.reload();
  await page.locator("#list li").nth(40).waitFor();
  while (stops.at(-1) !== "text" && stops.length < 30) {
    await page.keyboard.press("Tab");
    stops.push(await focused());
  }
  assert.ok(stops.length <= 10, stops.join(" "));
  assert.deepEqual([stops[0], stops.at(-2)], ["skip", "feed"]);

  await page.reload();
  await page.locator("#list li").nth(40).waitFor();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  assert.equal(await focused(), "text");
  await page.context().close();
});

test("the arrows go from comment to comment, beyond what is drawn, and Enter replies", async () => {
  const stream = await newStream("arrows");
  await write(stream.id, numbered(90));
  const page = await open(browser, stream.id, { name: "arrow", problems });
  await until("the newest", async () => (await texts(page)).at(-1) === "number 89");
  await page.locator("#feed").focus();
  const line = () => page.evaluate(() => document.activeElement.querySelector?.(":scope .text")?.textContent);
  await page.keyboard.press("ArrowUp");
  assert.equal(await line(), "number 89");
  await write(stream.id, numbered(100, 90));
  await page.locator("#new-comments", { hasText: "100 new comments" }).waitFor();
  assert.equal(await line(), "number 89", "the line that has the focus stays");
  await page.keyboard.press("ArrowUp");
  assert.equal(await line(), "number 88");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  assert.equal(await line(), "number 90", "more is drawn on the way");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.dataset.action), "reply");
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "text");
  assert.match(await page.locator("#replying-to").textContent(), /number 90/);
  assert.equal((await texts(page)).includes("number 90"), true, "what is answered stays in sight");
  await page.locator("#feed").focus();
  await page.keyboard.press("End");
  await until("the newest again", async () => (await texts(page)).at(-1) === "number 189");
  assert.equal(await page.locator("#list button[tabindex='0']").count(), 0);
  await page.context().close();
});

test("what comes fast is not read out, and that is said", async () => {
  const stream = await newStream("read out");
  const page = await open(browser, stream.id, { problems });
  // What the join brought is not read out; what comes afterwards is.
  await page.locator("#feed[aria-live=polite]").waitFor();
  await write(stream.id, numbered(100));
  await page.locator("#feed[aria-live=off]").waitFor();
  assert.match(await page.locator("#feed-said").textContent(), /not read out/);
  await page.context().close();
});

test("nothing went wrong on the pages", () => {
  assert.deepEqual(problems, []);
});
