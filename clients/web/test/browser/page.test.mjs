/** What the page promises its users, each in a real browser: `CHORUS_URL=http://host:port npm run test:browser`. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { base, devToken, launch, line, newStream, open, post, run, until, write } from "./support.mjs";

let browser;
const problems = [];

before(async () => {
  browser = await launch();
});

after(async () => {
  await browser?.close();
});

/** Writes until the server refuses one: a user may write five comments in 30 s. Returns the text of the refused one. */
async function refusedText(page, what) {
  for (let n = 0; n < 6; n += 1) await post(page, `${what} ${run} number ${n}`);
  await line(page, `${what} ${run} number 5`).locator(".fate[data-status=rejected]").waitFor();
  return `${what} ${run} number 5`;
}

test("no control is shown that the server does not serve", async () => {
  const stream = await newStream("controls");
  await write(stream.id, ["from somebody else"]);
  const page = await open(browser, stream.id, { name: "controls", problems });
  await post(page, "from me");
  await line(page, "from me").locator(".fate[data-status=durable]").waitFor();
  const actions = await page.locator("#list [data-action]").evaluateAll((found) => found.map((one) => one.dataset.action));
  assert.deepEqual([...new Set(actions)], ["reply", "delete"], "what the server answers with not_available is not offered");
  await page.context().close();
});

test("Enter that ends a composition does not post", async () => {
  const stream = await newStream("input method");
  const page = await open(browser, stream.id, { name: "ime", problems });
  const cdp = await page.context().newCDPSession(page);
  const enter = (code) => cdp.send("Input.dispatchKeyEvent", { type: "rawKeyDown", key: "Enter", windowsVirtualKeyCode: code });
  const posts = () => page.evaluate(() => window.chorus.stream.posts.length);

  await page.locator("#text").focus();
  await cdp.send("Input.imeSetComposition", { text: "にほん", selectionStart: 3, selectionEnd: 3 });
  await page.evaluate(() => {
    window.keys = [];
    document.getElementById("text").addEventListener("keydown", (event) => window.keys.push([event.isComposing, event.keyCode]));
  });
  await enter(229);
  // Some systems hand in the key's own code while composing.
  await enter(13);
  await cdp.send("Input.insertText", { text: "日本" });
  // Safari tells the end of the composition first: then the key alone says what it was for.
  await enter(229);
  assert.deepEqual(await page.evaluate(() => window.keys), [[true, 229], [true, 13], [false, 229]]);
  assert.equal(await page.inputValue("#text"), "日本");
  assert.equal(await posts(), 0);

  await page.keyboard.press("Enter");
  await line(page, "日本").locator(".fate[data-status=durable]").waitFor();
  assert.equal(await posts(), 1);
  await page.context().close();
});

test("text of either direction is shown in its own, and names do not turn what is beside them", async () => {
  const title = "نهائي الكأس";
  const stream = await newStream(title);
  const page = await open(browser, stream.id, { name: "עדה", problems });
  await post(page, `שלום (${run})`);
  const mine = line(page, run);
  await mine.locator(".fate[data-status=durable]").waitFor();
  const direction = (locator) => locator.evaluate((element) => getComputedStyle(element).direction);
  assert.equal(await direction(mine.locator(".text")), "rtl");
  assert.equal(await direction(mine.locator(".head")), "ltr");
  assert.equal(await mine.locator("bdi.name").count(), 1);
  await page.locator("#title", { hasText: title }).waitFor();
  assert.equal(await direction(page.locator("#title")), "rtl");
  await page.fill("#text", "مرحبا");
  assert.equal(await direction(page.locator("#text")), "rtl");
  await page.fill("#text", "hello");
  assert.equal(await direction(page.locator("#text")), "ltr");
  await mine.hover();
  await mine.locator("[data-action=reply]").click();
  assert.equal(await page.locator("#replying-to bdi").count(), 2, "the name and the text, each by itself");
  assert.match(await mine.locator("[data-action=reply]").getAttribute("aria-label"), /^Reply to \u2068.*\u2069$/);
  await page.context().close();
});

test("editing a refused comment keeps the draft, and a refused line can be dismissed", async () => {
  const stream = await newStream("refused");
  const page = await open(browser, stream.id, { name: "drafts", problems });
  const refused = await refusedText(page, "drafts");
  await page.fill("#text", "a draft of mine");
  await line(page, refused).locator("[data-action=edit]").click();
  assert.equal(await page.inputValue("#text"), refused);
  assert.match(await page.locator("#editing-what").textContent(), /draft is kept: a draft of mine/);
  await page.click("#edit-cancel");
  assert.equal(await page.inputValue("#text"), "a draft of mine");
  assert.equal(await line(page, refused).count(), 1, "given up, the refused one is still there");

  await line(page, refused).locator("[data-action=edit]").click();
  await post(page, `${refused}, changed`);
  assert.equal(await page.inputValue("#text"), "a draft of mine");
  await line(page, `${refused}, changed`).locator(".fate[data-status=rejected]").waitFor();
  assert.equal(await line(page, refused).count(), 1, "the one that was changed takes the place of the refused one");

  await line(page, refused).locator("[data-action=dismiss]").click();
  await until("the line to go", async () => (await line(page, refused).count()) === 0);
  assert.notEqual(await page.evaluate(() => document.activeElement.tagName), "BODY", "the keyboard is not lost with it");
  await page.context().close();
});

test("the comments have a useful height on every window, and nothing is cut off beside it", async () => {
  const stream = await newStream("A title that is long enough to take a second line on a phone");
  await write(stream.id, ["x".repeat(400), "line\n".repeat(20), ...Array.from({ length: 40 }, (_, n) => `number ${n}`)]);
  const page = await open(browser, stream.id, { name: "layout-with-a-name-that-is-long", problems });
  const sizes = { desktop: [1280, 800], "200 %": [640, 400], "400 %": [320, 256], phone: [390, 844], sideways: [640, 360], "larger, sideways": [812, 375], "above a keyboard": [390, 470], "wide and short": [1000, 400] };
  for (const [what, [width, height]] of Object.entries(sizes)) {
    await page.setViewportSize({ width, height });
    const seen = await page.evaluate(() => {
      const root = document.documentElement;
      const footer = document.getElementById("write").getBoundingClientRect();
      return {
        feed: document.getElementById("feed").clientHeight,
        overflow: root.scrollWidth - root.clientWidth,
        footerEnd: Math.floor(footer.bottom + scrollY) - Math.max(root.scrollHeight, root.clientHeight),
        wider: document.getElementById("feed").scrollWidth - document.getElementById("feed").clientWidth,
      };
    });
    assert.ok(seen.feed >= 120, `${what}: the feed is ${seen.feed} px high`);
    assert.ok(seen.overflow <= 0 && seen.wider <= 0, `${what}: something reaches over the side`);
    assert.ok(seen.footerEnd <= 0, `${what}: the composer can be scrolled to`);
    if (width >= 640 && height >= 360) assert.ok(seen.feed >= height / 2, `${what}: the feed has ${seen.feed} of ${height} px`);
  }
  await page.context().close();
});

test("without JavaScript the page says so, in sight", async () => {
  const context = await browser.newContext({ javaScriptEnabled: false, viewport: { width: 640, height: 360 } });
  const page = await context.newPage();
  await page.goto(base);
  const box = await page.locator("noscript").boundingBox();
  assert.ok(box && box.height > 0 && box.y >= 0 && box.y + box.height <= 360, JSON.stringify(box));
  assert.match(await page.locator("noscript").innerText(), /needs JavaScript/);
  await context.close();
});

test("the stream's title is shown", async () => {
  const stream = await newStream(`Cup final ${run}`);
  const page = await open(browser, stream.id, { problems });
  await page.locator("#title", { hasText: stream.title }).waitFor();
  assert.match(await page.title(), new RegExp(stream.title));
  await page.context().close();
});

test("a stream that has ended says so, and takes nothing", async () => {
  const stream = await newStream("over");
  await write(stream.id, ["while it lasted"]);
  await stream.end();
  const page = await open(browser, stream.id, { ready: false });
  await page.locator("#live[data-status=ended]").waitFor();
  assert.equal(await page.locator("#closed").textContent(), "The stream has ended");
  assert.equal(await page.locator("#name-form").isVisible(), false);
  assert.equal(await page.locator("#reactions button[aria-disabled=false]").count(), 0);
  await page.context().close();
});

test("viewers see at once that a stream ends, and keep what they were writing", async () => {
  const stream = await newStream("ends");
  const page = await open(browser, stream.id, { name: "witness", problems });
  await page.fill("#text", "half a sentence");
  await stream.end();
  await page.locator("#live[data-status=ended]").waitFor();
  assert.equal(await page.locator("#mode").textContent(), "The stream has ended");
  assert.equal(await page.locator("#post").isDisabled(), true);
  assert.equal(await page.locator("#text").evaluate((text) => text.readOnly), true);
  assert.equal(await page.inputValue("#text"), "half a sentence");
  await page.context().close();
});

test("a stream that does not exist, or cannot, is said to be unknown at once", async () => {
  for (const id of [`nothing-${run}`, "no%20such%20name"]) {
    const page = await open(browser, id, { ready: false });
    await page.locator("#live[data-status=unknown]").waitFor();
    assert.match(await page.locator("#missing").textContent(), /There is no stream/);
    assert.equal(await page.locator("#closed").textContent(), "There is no such stream");
    assert.equal(await page.locator("#name-form").isVisible(), false);
    await page.context().close();
  }
});

test("the counter counts what the server counts, and what is too long is said and not posted", async () => {
  const stream = await newStream("counter");
  const page = await open(browser, stream.id, { name: "counter", problems });
  await page.fill("#text", "👍".repeat(500));
  assert.equal(await page.locator("#counter").textContent(), "500 / 500");
  assert.equal(await page.locator("#post").isDisabled(), false);
  await page.fill("#text", "👍".repeat(501));
  assert.equal(await page.locator("#counter").textContent(), "1 too many");
  assert.equal(await page.locator("#counter-said").textContent(), "Too long to post");
  await page.press("#text", "Enter");
  assert.equal(await page.evaluate(() => window.chorus.stream.posts.length), 0);
  await page.context().close();
});

test("a sign-in that is refused is asked for again, with the name filled in and the draft kept", async () => {
  const stream = await newStream("signed out");
  const page = await open(browser, stream.id, { name: "stale", problems });
  await page.fill("#text", "not lost");
  const foreign = `${(await devToken("stranger")).split(".").slice(0, 2).join(".")}.AAAA`;
  await page.route("**/api/dev/token", (route) => route.fulfill({ status: 404, json: { title: "Not Found" } }));
  await page.evaluate((token) => window.chorus.client.setToken(token), foreign);
  await page.locator("#name-form").waitFor();
  assert.match(await page.locator("#name-problem").textContent(), /no longer valid/);
  assert.equal(await page.inputValue("#name"), `stale-${run}`);
  await page.unroute("**/api/dev/token");
  await page.press("#name", "Enter");
  await page.locator("#text").waitFor();
  assert.equal(await page.inputValue("#text"), "not lost");
  await page.press("#text", "Enter");
  await line(page, "not lost").locator(".fate[data-status=durable]").waitFor();
  await page.context().close();
});

test("reactions beyond the rate are refused in words, and without a connection none is invited", async () => {
  const stream = await newStream("reactions");
  const page = await open(browser, stream.id, { name: "clicks", problems });
  await until("a refusal", async () => {
    await page.evaluate(() => ["like", "love", "haha", "sad", "angry"].forEach((type) => window.chorus.stream.react(type, 20)));
    return page.locator("#notice", { hasText: "reacting too fast" }).isVisible();
  });
  await page.context().setOffline(true);
  await page.locator("#connection", { hasText: "No network" }).waitFor();
  await page.locator("[data-reaction=wow][aria-disabled=true]").click({ force: true });
  await page.context().setOffline(false);
  await page.locator("#connection[data-phase=open]").waitFor();
  await page.locator("[data-reaction=wow][aria-disabled=false]").waitFor();
  assert.equal(await page.locator("[data-reaction=wow] .total").textContent(), "0");
  await page.context().close();
});

test("every control has a name, and every field a label", async () => {
  const stream = await newStream("names");
  await write(stream.id, Array.from({ length: 60 }, (_, n) => `number ${n}`));
  const page = await open(browser, stream.id, { name: "names", problems });
  await refusedText(page, "names");
  await page.locator("#feed").hover();
  await page.mouse.wheel(0, -800);
  await page.locator("#new-comments").waitFor();
  const cdp = await page.context().newCDPSession(page);
  const { nodes } = await cdp.send("Accessibility.getFullAXTree");
  const controls = nodes.filter(({ ignored, role }) => !ignored && ["button", "textbox", "link", "log", "main"].includes(role?.value));
  assert.ok(controls.length > 20);
  assert.deepEqual(controls.filter(({ role, name }) => role.value !== "main" && !name?.value).map(({ role }) => role.value), []);
  await page.context().close();
});

test("nothing went wrong on the pages", () => {
  assert.deepEqual(problems.filter((problem) => !/404|ERR_INTERNET_DISCONNECTED/.test(problem)), []);
});
