/**
 * Two viewers at PoPs of two regions, in a real browser: `chorus dev --regions 2 --on-exit restart --data DIR` with
 * `CHORUS_PIDS=DIR/pids.json`, where the addresses of both PoPs are and which process to kill.
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { base, launch, line, newStream, open, post, run, until, write } from "../browser/support.mjs";

const { pids, urls } = JSON.parse(await readFile(process.env.CHORUS_PIDS, "utf8"));
const origin = (key) => new URL(urls[key]).origin;

let browser;
let stream;
/** One begins at each PoP. */
let ada;
let grace;
const problems = [];

async function viewer(name, at) {
  const far = [origin("edge"), origin("edge-us")].find((one) => one !== at);
  const page = await open(browser, stream.id, { name, at, problems, ready: false, far });
  await page.locator("#pop-rtt", { hasText: "ms" }).waitFor();
  // A page that is loaded anew would lose it.
  await page.evaluate(() => (window.notReloaded = true));
  return page;
}

const popOf = (page) => page.locator("#pop-name").textContent();
const shown = async (page) => (await page.locator("#list .text").allTextContents()).filter((text) => text.includes(run));

async function everything(pages, texts) {
  for (const page of pages) {
    await until(`${texts.length} comments`, async () => (await shown(page)).length >= texts.length);
    assert.deepEqual((await shown(page)).sort(), [...texts].sort(), "each once");
    assert.equal(await page.locator("#list .gap").count(), 0);
    assert.equal(await page.evaluate(() => window.notReloaded), true);
  }
}

before(async () => {
  assert.equal(origin("edge"), base, "the first region");
  browser = await launch();
  stream = await newStream("two regions");
  await until("the stream is in the other region", async () => (await fetch(`${origin("edge-us")}/api/streams/${stream.id}`)).ok);
  ada = await viewer("ada", origin("edge"));
  grace = await viewer("grace", origin("edge-us"));
});

after(async () => {
  await browser?.close();
});

const texts = [];

test("each page says where it is, and both see what is written at the other", async () => {
  assert.deepEqual([await popOf(ada), await popOf(grace)], ["dev-1", "dev-1-us"]);
  assert.deepEqual([await ada.locator("#pop-region").textContent(), await grace.locator("#pop-region").textContent()], [" · eu", " · us"]);
  for (const [page, text] of [[ada, `from eu ${run}`], [grace, `from us ${run}`]]) {
    await post(page, text);
    texts.push(text);
  }
  await everything([ada, grace], texts);
});

test("one moves from the menu, by the keyboard, and misses and doubles nothing", async () => {
  await ada.focus("#pop-button");
  await ada.keyboard.press("Enter");
  const lines = ada.locator("#pop-menu [role=menuitemradio]");
  assert.equal(await lines.count(), 2);
  assert.equal(await lines.locator("css=.rtt", { hasText: "ms" }).count(), 2, "both are measured");
  assert.equal(await ada.evaluate(() => document.activeElement.dataset.pop), "dev-1", "the focus is on where it is");
  await ada.keyboard.press("Escape");
  assert.equal(await ada.locator("#pop-menu").isVisible(), false);
  assert.equal(await ada.evaluate(() => document.activeElement.id), "pop-button");

  const meanwhile = Array.from({ length: 40 }, (_, n) => `meanwhile ${n} ${run}`);
  const writing = write(stream.id, meanwhile);
  texts.push(...meanwhile);
  await ada.keyboard.press("ArrowDown");
  for (let n = 0; n < 2 && (await ada.evaluate(() => document.activeElement.dataset.pop)) !== "dev-1-us"; n += 1) {
    await ada.keyboard.press("ArrowDown");
  }
  await ada.keyboard.press("Enter");
  await post(ada, `while moving ${run}`);
  texts.push(`while moving ${run}`);
  await until("it is there", async () => (await popOf(ada)) === "dev-1-us");
  await until("it says so", async () => (await ada.locator("#pop-said").textContent()) === "Now at dev-1-us, us");
  await line(ada, `while moving ${run}`).locator(".fate[data-status=durable]").waitFor();
  assert.equal(await ada.evaluate(() => window.chorus.client.restUrl), origin("edge-us"));
  await writing;
  await everything([ada, grace], texts);
});

test("a PoP is killed: its pages come back at the other with everything", async () => {
  assert.deepEqual(problems.splice(0), []);
  process.kill(pids["edge-us"], "SIGKILL");
  const missed = Array.from({ length: 20 }, (_, n) => `missed ${n} ${run}`);
  await write(stream.id, missed);
  texts.push(...missed);
  for (const page of [ada, grace]) {
    await until("it is at the other", async () => (await popOf(page)) === "dev-1" && (await page.locator("#live[data-status=live]").count()) === 1);
  }
  await everything([ada, grace], texts);
  await post(grace, `still here ${run}`);
  await line(grace, `still here ${run}`).locator(".fate[data-status=durable]").waitFor();
  await line(ada, `still here ${run}`).waitFor();
  const others = problems.filter((problem) => !problem.includes(new URL(origin("edge-us")).host) && !problem.includes("ERR_CONNECTION_REFUSED"));
  assert.deepEqual(others, [], "nothing but the connection to what was killed");
});
