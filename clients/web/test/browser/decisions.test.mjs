/** Decisions about comments in a real browser: `CHORUS_URL=http://host:port npm run test:browser`. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, line, newStream, open, post, until, write } from "./support.mjs";

let browser;
const problems = [];

const remove = (page, text) => line(page, text).locator("[data-action=delete]");
const focused = (page) =>
  page.evaluate(() => {
    const at = document.activeElement;
    return at?.dataset?.action ?? at?.querySelector?.(":scope > .body > .text")?.textContent ?? at?.id;
  });
const durable = (page, text) => line(page, text).locator(".fate[data-status=durable]").waitFor();

/** Presses as a person does: what was asked is read before the second press. */
async function removeTwice(page, text) {
  await line(page, text).hover();
  await remove(page, text).click();
  await remove(page, text).filter({ hasText: "Delete?" }).click({ delay: 50 });
}

before(async () => {
  browser = await launch();
});

after(async () => {
  await browser?.close();
});

test("an author deletes an own comment: it goes from every page, and does not come back", async () => {
  const stream = await newStream("deleted");
  const ada = await open(browser, stream.id, { name: "ada", problems });
  const grace = await open(browser, stream.id, { name: "grace", problems });
  await post(ada, "it goes");
  await durable(ada, "it goes");
  await line(grace, "it goes").waitFor();
  await line(grace, "it goes").hover();
  assert.equal(await remove(grace, "it goes").count(), 0, "not hers to delete");
  await line(grace, "it goes").locator("[data-action=reply]").click();
  await post(grace, "an answer");
  await line(ada, "an answer").locator(".quote", { hasText: "it goes" }).waitFor();

  await line(ada, "it goes").hover();
  assert.equal(await remove(ada, "it goes").getAttribute("aria-label"), "Delete comment");
  const { width, height } = await remove(ada, "it goes").boundingBox();
  assert.ok(width >= 24 && height >= 24, `${width} × ${height}`);
  await remove(ada, "it goes").click();
  await remove(ada, "it goes").filter({ hasText: "Delete?" }).waitFor();
  // The focus elsewhere takes the question back.
  await ada.focus("#text");
  await remove(ada, "it goes").filter({ hasNotText: "Delete?" }).waitFor();
  assert.equal(await line(grace, "it goes").count(), 1);

  await removeTwice(ada, "it goes");
  for (const page of [ada, grace]) {
    await line(page, "it goes").waitFor({ state: "detached" });
    await line(page, "an answer").locator(".quote", { hasText: "In reply to a removed comment" }).waitFor();
  }
  await grace.reload();
  await line(grace, "an answer").waitFor();
  assert.equal(await line(grace, "it goes").count(), 0);
  const late = await open(browser, stream.id, { problems });
  await line(late, "an answer").waitFor();
  assert.equal(await line(late, "it goes").count(), 0);
  for (const page of [ada, grace, late]) await page.context().close();
});

test("a moderator highlights a comment for every page and ends it again, by one press each", async () => {
  const stream = await newStream("highlighted");
  const ada = await open(browser, stream.id, { name: "ada", problems });
  const mod = await open(browser, stream.id, { name: "mod", role: "moderator", problems });
  await post(ada, "worth a look");
  await durable(ada, "worth a look");
  const star = (page) => line(page, "worth a look").locator("[data-action=highlight]");
  await line(ada, "worth a look").hover();
  assert.equal(await star(ada).count(), 0, "not hers to highlight");
  for (const on of [true, false]) {
    await line(mod, "worth a look").hover();
    assert.equal(await star(mod).getAttribute("aria-label"), on ? "Highlight comment" : "End the highlight");
    await star(mod).click();
    for (const page of [ada, mod]) {
      await until("the highlight to change", async () => (await line(page, "worth a look").locator(".badge", { hasText: "highlighted" }).count()) === Number(on));
    }
    const late = await open(browser, stream.id, { problems });
    await line(late, "worth a look").waitFor();
    assert.equal(await line(late, "worth a look").locator(".badge", { hasText: "highlighted" }).count(), Number(on));
    await late.context().close();
  }
  for (const page of [ada, mod]) await page.context().close();
});

test("by the keyboard: Tab reaches the button, Escape keeps the comment, and the focus goes on to a neighbour", async () => {
  const stream = await newStream("deleted by keyboard");
  const page = await open(browser, stream.id, { name: "keys", problems });
  for (const text of ["one", "two", "three"]) {
    await post(page, text);
    await durable(page, text);
  }
  await page.focus("#feed");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("ArrowUp");
  assert.equal(await focused(page), "two");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  assert.equal(await focused(page), "delete");
  await page.keyboard.press("Enter");
  await remove(page, "two").filter({ hasText: "Delete?" }).waitFor();
  assert.match(await page.locator("#feed-said").textContent(), /Press again/);
  await page.keyboard.press("Escape");
  await remove(page, "two").filter({ hasNotText: "Delete?" }).waitFor();
  assert.equal(await focused(page), "delete", "Escape only takes the question back");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Enter");
  await line(page, "two").waitFor({ state: "detached" });
  await until("the next comment", async () => (await focused(page)) === "three");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Enter");
  await line(page, "three").waitFor({ state: "detached" });
  await until("the comment before", async () => (await focused(page)) === "one");
  await page.context().close();
});

test("a moderator deletes what others wrote; who may not is told why", async () => {
  const stream = await newStream("moderated");
  await write(stream.id, ["first", "second"]);
  const mallory = await open(browser, stream.id, { name: "mallory", problems });
  await line(mallory, "first").waitFor();
  assert.equal(await remove(mallory, "first").count(), 0);
  // A page that believes it may is refused by the server.
  await mallory.evaluate(() => {
    const { client, stream } = window.chorus;
    stream.view.role = "moderator";
    client.emit({ type: "updated", payload: { streamId: stream.streamId, commentId: "" } });
  });
  await removeTwice(mallory, "first");
  await line(mallory, "first").locator(".fate", { hasText: "only its author and the moderators may delete it" }).waitFor();
  assert.doesNotMatch(await line(mallory, "first").getAttribute("class"), /waiting/);

  const moderator = await open(browser, stream.id, { name: "mod", role: "moderator", problems });
  await line(moderator, "first").waitFor();
  await removeTwice(moderator, "first");
  for (const page of [moderator, mallory]) await line(page, "first").waitFor({ state: "detached" });
  assert.equal(await line(mallory, "second").count(), 1);
  for (const page of [moderator, mallory]) await page.context().close();
});

test("where nothing can hover the button is there, and large enough for a finger", async () => {
  const stream = await newStream("deleted by touch");
  const context = { hasTouch: true, isMobile: true, viewport: { width: 390, height: 800 } };
  const page = await open(browser, stream.id, { name: "touch", problems, context });
  await post(page, "under a finger");
  await durable(page, "under a finger");
  const button = remove(page, "under a finger");
  assert.equal(await button.evaluate((node) => getComputedStyle(node).opacity), "1");
  const { width, height } = await button.boundingBox();
  assert.ok(width >= 24 && height >= 24, `${width} × ${height}`);
  await button.tap();
  await button.filter({ hasText: "Delete?" }).waitFor();
  // Longer than a double tap, which does not count as an answer.
  await page.waitForTimeout(600);
  await button.tap();
  await line(page, "under a finger").waitFor({ state: "detached" });
  await page.context().close();
});

test("nothing went wrong on the pages", () => {
  assert.deepEqual(problems, []);
});
