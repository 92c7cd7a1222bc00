/** What the browser tests share: a browser, pages of it, streams of their own, and a fast writer of comments. */
import assert from "node:assert/strict";
import { chromium } from "playwright-core";
import { WebSocket } from "ws";
import { CHROMIUM } from "./chromium.mjs";

export const base = process.env.CHORUS_URL?.replace(/\/$/, "");
if (!base) throw new Error("CHORUS_URL is missing: the browser test needs a running server, e.g. http://127.0.0.1:8080");
/** Marks what a run writes, so the store need not be clean. */
export const run = `${Date.now().toString(36)}${Math.random().toString(36).slice(2, 6)}`;
export const WAIT_MS = 10_000;
/** How much further away a PoP is that is to seem far. */
const FAR_MS = 80;

export const launch = () => chromium.launch(CHROMIUM);

export async function until(what, check) {
  const deadline = Date.now() + WAIT_MS;
  for (let last; ; await new Promise((done) => setTimeout(done, 50))) {
    if (await check().then((value) => (last = value))) return last;
    if (Date.now() > deadline) assert.fail(`waited ${WAIT_MS} ms for ${what}; last seen: ${JSON.stringify(last)}`);
  }
}

async function rest(method, path, token, body) {
  const headers = { ...(body ? { "content-type": "application/json" } : {}), ...(token ? { authorization: `Bearer ${token}` } : {}) };
  const response = await fetch(`${base}${path}`, { method, headers, ...(body ? { body: JSON.stringify(body) } : {}) });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${JSON.stringify(answer)}`);
  return answer;
}

export const devToken = async (username, role) => (await rest("POST", "/api/dev/token", null, { username, role })).token;

/** A new stream, which its broadcaster may end. */
export async function newStream(title) {
  const token = await devToken(`host-${run}`);
  const { stream_id: id } = await rest("POST", "/api/streams", token, { title });
  return { id, title, end: () => rest("POST", `/api/streams/${id}/end`, token, {}) };
}

/** Messages that a connection may hand in at once. */
const BURST = 150;

/** Writes comments as fast as they are taken, as the platform's own service, in this order. Resolves once all are durable. */
export async function write(streamId, texts) {
  for (let from = 0; from < texts.length; from += BURST) await writeBurst(streamId, texts.slice(from, from + BURST));
}

async function writeBurst(streamId, texts) {
  const token = await devToken(`writer-${run}`, "admin");
  const socket = new WebSocket(`${base.replace(/^http/, "ws")}/v1/ws`, ["chorus.v1.json"]);
  await new Promise((done, failed) => socket.once("open", done).once("error", failed));
  const say = (type, payload) => socket.send(JSON.stringify({ type, payload }));
  const open = new Map(texts.map((text, index) => [`w-${run}-${Math.random()}-${index}`, text]));
  const posts = [...open];
  await new Promise((done, failed) => {
    const next = () => posts.length > 0 && say("post_comment", { stream_id: streamId, client_id: posts[0][0], content: posts.shift()[1] });
    socket.on("message", (data) => {
      const { type, payload } = JSON.parse(data);
      if (type === "joined") for (let n = 0; n < 20; n += 1) next();
      if (type === "error" || payload?.status === "rejected") failed(new Error(`refused: ${data}`));
      if (payload?.status !== "durable" || !open.delete(payload.client_id)) return;
      if (open.size === 0) done();
      else next();
    });
    socket.on("close", (code) => failed(new Error(`closed ${code}`)));
    say("authenticate", { token });
    say("join_stream", { stream_id: streamId });
  });
  socket.close();
}

/**
 * A page of a stream; `name` signs in, with a `role` by a token that has it. Faults of the page go into `problems`. `at`: the PoP that it comes
 * from; `far`: one that seems to be far away.
 */
export async function open(browser, streamId, { name, role, problems, context = {}, ready = true, at = base, far } = {}) {
  const own = await browser.newContext(context);
  if (far) {
    await own.route(`${far}/healthz`, async (route) => {
      await new Promise((done) => setTimeout(done, FAR_MS));
      await route.continue().catch(() => {});
    });
  }
  if (role) {
    const username = `${name}-${run}`;
    const session = JSON.stringify({ username, token: await devToken(username, role) });
    await own.addInitScript((kept) => sessionStorage.setItem("chorus.session", kept), session);
  }
  const page = await own.newPage();
  page.setDefaultTimeout(WAIT_MS);
  page.on("pageerror", (error) => problems?.push(`${name ?? streamId}: ${error}`));
  page.on("console", (message) => message.type() === "error" && problems?.push(`${name ?? streamId}: ${message.text()}`));
  await page.goto(`${at}/?stream=${streamId}`);
  if (ready) await page.locator("#live[data-status=live]").waitFor();
  if (name && !role) {
    await page.fill("#name", `${name}-${run}`);
    await page.press("#name", "Enter");
    await page.locator("#text").waitFor();
  }
  return page;
}

export async function post(page, text) {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

export const line = (page, text) => page.locator("li.comment", { has: page.locator(".text", { hasText: text }) });
