/**
 * Two viewers in a real browser against a real server: `CHORUS_URL=http://host:port npm run test:browser`.
 * Every text is new in each run, so the store need not be clean. `CHORUS_STREAM` chooses another stream
 * than `demo`; `CHORUS_CHROMIUM` another browser than /usr/bin/chromium.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { base, launch, line, post, run, until, WAIT_MS } from "./support.mjs";

const pageUrl = `${base}/?stream=${process.env.CHORUS_STREAM ?? "demo"}`;

let browser;
/** Four writers, since one may write five comments in 30 s. */
let ada;
let grace;
let linus;
let barbara;
const problems = [];

async function viewer(name) {
  // A context of its own: another session storage, so another user.
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  page.on("pageerror", (error) => problems.push(`${name}: ${error}`));
  page.on("console", (message) => message.type() === "error" && problems.push(`${name}: ${message.text()}`));
  await page.goto(pageUrl);
  await page.locator("#connection[data-phase=open]").waitFor();
  await page.locator("#live[data-status=live]").waitFor();
  await page.fill("#name", `${name}-${run}`);
  await page.press("#name", "Enter");
  await page.locator("#text").waitFor();
  return page;
}

const total = (page, type) => page.locator(`[data-reaction=${type}] .total`).evaluate((node) => Number(node.dataset.count));
/** The texts of this run that start with `prefix`, in the order they are shown. */
const texts = async (page, prefix) =>
  (await page.locator("#list .text").allTextContents()).filter((text) => text.startsWith(`${prefix} ${run}`));

before(async () => {
  browser = await launch();
  ada = await viewer("ada");
  grace = await viewer("grace");
  linus = await viewer("linus");
  barbara = await viewer("barbara");
});

after(async () => {
  await browser?.close();
});

test("a comment crosses both ways, once", async () => {
  await post(ada, `from ada ${run}`);
  await line(grace, `from ada ${run}`).waitFor();
  await post(grace, `from grace ${run}`);
  await line(ada, `from grace ${run}`).waitFor();
  for (const page of [ada, grace]) {
    assert.equal(await line(page, `from ada ${run}`).count(), 1);
    assert.equal(await line(page, `from grace ${run}`).count(), 1);
  }
  assert.equal(await line(grace, `from ada ${run}`).locator(".name").textContent(), `ada-${run}`);
});

test("the sender is told that the comment is durable", async () => {
  await post(ada, `durable ${run}`);
  await line(ada, `durable ${run}`).locator(".fate[data-status=durable]").waitFor();
  assert.match(await line(ada, `durable ${run}`).locator(".fate").textContent(), /delivered/);
  await line(grace, `durable ${run}`).waitFor();
  assert.equal(await line(grace, `durable ${run}`).locator(".fate").count(), 0, "a receipt is the sender's alone");
});

test("a reply shows what it answers", async () => {
  await post(ada, `question ${run}`);
  await line(grace, `question ${run}`).hover();
  await line(grace, `question ${run}`).locator("[data-action=reply]").click();
  await post(grace, `answer ${run}`);
  const quote = line(ada, `answer ${run}`).locator(".quote");
  await quote.waitFor();
  assert.equal(await quote.textContent(), `ada-${run}: question ${run}`);
});

test("reaction totals cross", async () => {
  const before = await total(grace, "wow");
  for (let n = 0; n < 5; n += 1) await ada.click("[data-reaction=wow]");
  await until("five more on the other page", async () => (await total(grace, "wow")) >= before + 5);
  await until("five more on the own page", async () => (await total(ada, "wow")) >= before + 5);
  await until("both to agree", async () => (await total(ada, "wow")) === (await total(grace, "wow")));
});

test("hostile text is text", async () => {
  const hostile = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script> ${run}`;
  await post(grace, hostile);
  for (const page of [ada, grace]) {
    const shown = page.locator("li.comment .text", { hasText: `</script> ${run}` });
    await shown.waitFor();
    assert.equal(await shown.textContent(), hostile);
    assert.equal(await page.locator("#list img, #list script").count(), 0);
    assert.equal(await page.evaluate(() => window.hacked), undefined);
  }
});

test("the viewer count counts both", async () => {
  for (const page of [ada, grace]) {
    await until("two viewers or more", async () => (await page.locator("#viewers").evaluate((node) => Number(node.dataset.count))) >= 2);
  }
});

test("what was missed comes once and in order, and what was written meanwhile goes out once", async () => {
  await ada.evaluate(() => window.chorus.client.suspend());
  await ada.locator("#connection[data-phase=suspended]").waitFor();
  const missed = ["one red apple", "two long rivers", "three paper lanterns"].map((text) => `missed ${run} ${text}`);
  for (const text of missed) {
    await post(linus, text);
    await line(linus, text).locator(".fate[data-status=durable]").waitFor();
  }
  await post(ada, `offline ${run}`);
  await line(ada, `offline ${run}`).locator(".fate[data-status=sending]").waitFor();
  assert.deepEqual(await texts(ada, "missed"), []);

  await ada.evaluate(() => window.chorus.client.start());
  await line(ada, missed[2]).waitFor();
  await line(ada, `offline ${run}`).locator(".fate[data-status=durable]").waitFor();
  await line(grace, `offline ${run}`).waitFor();
  assert.deepEqual(await texts(ada, "missed"), missed);
  assert.deepEqual(await texts(grace, "offline"), [`offline ${run}`]);
  assert.equal(await ada.locator("#list .gap").count(), 0);
  const ids = await ada.evaluate(() => window.chorus.stream.view.comments.map((comment) => comment.id));
  assert.deepEqual(ids, [...new Set(ids)].sort((a, b) => (BigInt(a) < BigInt(b) ? -1 : 1)));
});

test("a resume that nobody can read is a gap that is seen", async () => {
  await ada.evaluate(() => {
    window.chorus.client.suspend();
    window.chorus.stream.view.resume = "unreadable";
    window.chorus.client.start();
  });
  await ada.locator("#list .gap").waitFor();
  assert.match(await ada.locator("#list .gap").textContent(), /could not be replayed/);
  await post(linus, `after the gap ${run}`);
  await line(ada, `after the gap ${run}`).waitFor();
});

test("a reload keeps the history and the name", async () => {
  await post(barbara, `kept ${run}`);
  await line(barbara, `kept ${run}`).locator(".fate[data-status=durable]").waitFor();
  await barbara.reload();
  await line(barbara, `kept ${run}`).waitFor();
  assert.equal(await line(barbara, `kept ${run}`).count(), 1);
  await post(barbara, `still me ${run}`);
  await line(ada, `still me ${run}`).waitFor();
  assert.equal(await line(ada, `still me ${run}`).locator(".name").textContent(), `barbara-${run}`);
});

test("a viewer without a name reads and is asked before writing", async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  await page.goto(pageUrl);
  await line(page, `kept ${run}`).waitFor();
  assert.equal(await page.locator("#composer").isVisible(), false);
  await page.click("[data-reaction=like]");
  assert.equal(await page.evaluate(() => document.activeElement?.id), "name");
  await context.close();
});

test("nothing went wrong on the pages", () => {
  assert.deepEqual(problems, []);
});
