/**
 * A token that will not do, a network that goes, a page without https: the page in a real browser against a real server, as
 * `two-viewers.test.mjs` runs it.
 */
import assert from "node:assert/strict";
import { createHmac, randomBytes } from "node:crypto";
import { after, before, beforeEach, afterEach, test } from "node:test";
import { chromium } from "playwright-core";

const base = process.env.CHORUS_URL;
if (!base) throw new Error("CHORUS_URL is missing: the browser test needs a running server, e.g. http://127.0.0.1:8080");
const pagePath = `/?stream=${process.env.CHORUS_STREAM ?? "demo"}`;
const pageUrl = `${base.replace(/\/$/, "")}${pagePath}`;
const WAIT_MS = 10_000;
/** A name that is no secure origin: to a browser, `localhost` and 127.0.0.1 are as good as https. */
const PLAIN_HOST = "chorus.test";

let browser;
let context;
let page;
let run;

before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHORUS_CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", `--host-resolver-rules=MAP ${PLAIN_HOST} 127.0.0.1`],
  });
});
after(async () => {
  await browser?.close();
});
beforeEach(async () => {
  run = randomBytes(5).toString("hex");
  context = await browser.newContext();
  page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
});
afterEach(() => context.close());

async function signIn(url = pageUrl) {
  await page.goto(url);
  await page.locator("#connection[data-phase=open]").waitFor();
  await page.fill("#name", `stale-${run}`);
  await page.press("#name", "Enter");
  await page.locator("#text").waitFor();
}

async function post(text) {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

const line = (text) => page.locator("li.comment", { has: page.locator(".text", { hasText: text }) });
const fate = (text, status) => line(text).locator(`.fate[data-status=${status}]`);
const saved = () => page.evaluate(() => JSON.parse(sessionStorage.getItem("chorus.session")));

/** What a reset of the server leaves in the page: the same token, signed with a key that is gone. */
async function makeStale() {
  const session = await saved();
  const [head, claims] = session.token.split(".");
  const signature = createHmac("sha256", randomBytes(32)).update(`${head}.${claims}`).digest("base64url");
  const token = `${head}.${claims}.${signature}`;
  await page.evaluate((value) => sessionStorage.setItem("chorus.session", value), JSON.stringify({ ...session, token }));
  return token;
}

test("signed in with a key that is gone, reloaded: what is written gets through, under the same name", async () => {
  await signIn();
  const stale = await makeStale();
  await page.reload();
  await post(`after the reset ${run}`);
  await fate(`after the reset ${run}`, "durable").waitFor();
  assert.equal(await line(`after the reset ${run}`).count(), 1);
  assert.equal(await line(`after the reset ${run}`).locator(".name").textContent(), `stale-${run}`);
  assert.notEqual((await saved()).token, stale, "and the next reload starts with a good one");
});

test("signed in with a key that is gone, and no new token to be had: the page asks for the name, keeps nothing, and reads on", async () => {
  await signIn();
  await post(`before ${run}`);
  await fate(`before ${run}`, "durable").waitFor();
  await makeStale();
  await page.route("**/api/dev/token", (route) => route.fulfill({ status: 404, json: { title: "Not Found", status: 404 } }));
  await page.reload();
  await page.locator("#name").waitFor();
  await page.locator("#name-problem").waitFor();
  assert.match(await page.locator("#name-problem").textContent(), /no longer valid/);
  assert.equal(await saved(), null);
  await line(`before ${run}`).waitFor();
  await page.unroute("**/api/dev/token");
  await page.fill("#name", `stale-${run}`);
  await page.press("#name", "Enter");
  await post(`signed in again ${run}`);
  await fate(`signed in again ${run}`, "durable").waitFor();
});

test("setToken of another user and of none, on the real server", async () => {
  await signIn();
  const { token } = await (
    await fetch(`${base}/api/dev/token`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ username: `other-${run}` }) })
  ).json();
  await page.evaluate((value) => window.chorus.client.setToken(value), token);
  await post(`as another ${run}`);
  await line(`as another ${run}`).locator(".name", { hasText: `other-${run}` }).waitFor();
  await page.evaluate(() => window.chorus.client.setToken(null));
  await page.locator("#name").waitFor();
  await page.locator("#connection[data-phase=open]").waitFor();
  await line(`as another ${run}`).waitFor();
  assert.equal(await page.evaluate(() => window.chorus.stream.view.role), "anonymous");
});

test("without a network the page says so at once, and with it again it goes on", async () => {
  await signIn();
  await context.setOffline(true);
  // At once, that is with the browser's event, and not when a probe has run out.
  await page.waitForFunction(() => window.chorus.client.connection.offline, null, { timeout: 3_000 });
  assert.notEqual(await page.locator("#connection").getAttribute("data-phase"), "open");
  await post(`from the tunnel ${run}`);
  await fate(`from the tunnel ${run}`, "sending").waitFor();
  await context.setOffline(false);
  await page.locator("#connection[data-phase=open]").waitFor();
  await fate(`from the tunnel ${run}`, "durable").waitFor();
});

test("on a page that came by plain http, where crypto.randomUUID is missing, a comment is posted", async () => {
  const plain = new URL(pageUrl);
  plain.hostname = PLAIN_HOST;
  await signIn(plain.href);
  assert.equal(await page.evaluate(() => isSecureContext || "randomUUID" in crypto), false);
  await post(`in plain text ${run}`);
  await fate(`in plain text ${run}`, "durable").waitFor();
});
