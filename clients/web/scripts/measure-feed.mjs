/**
 * How the page draws under load: `CHORUS_URL=http://host:port npm run measure [seconds]` while something posts, e.g.
 * `chorus load --url http://host:port --viewers 1 --rate 200 --seconds 20`. Prints one line of JSON: comments and frames
 * a second, tasks above 50 ms, their sum, the worst time between two frames, and the elements of the list.
 * `CHORUS_SLOWDOWN=4` slows the page's main thread down, as a phone would. A second argument `up` scrolls up first.
 */
import { chromium } from "playwright-core";
import { CHROMIUM } from "../test/browser/chromium.mjs";

const base = process.env.CHORUS_URL;
if (!base) throw new Error("CHORUS_URL is missing");
const seconds = Number(process.argv[2] ?? 9);
const scrolledUp = process.argv[3] === "up";

const browser = await chromium.launch(CHROMIUM);
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  await page.goto(`${base.replace(/\/$/, "")}/?stream=${process.env.CHORUS_STREAM ?? "demo"}`);
  await page.locator("#live[data-status=live]").waitFor();
  await page.locator("#list li").nth(40).waitFor();
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Emulation.setCPUThrottlingRate", { rate: Number(process.env.CHORUS_SLOWDOWN ?? 1) });
  if (scrolledUp) {
    await page.locator("#feed").hover();
    await page.mouse.wheel(0, -600);
  }
  await cdp.send("Performance.enable");
  /** Seconds of the main thread since the page was opened, by kind. */
  const spentOn = async () => Object.fromEntries((await cdp.send("Performance.getMetrics")).metrics.map(({ name, value }) => [name, value]));
  const before = await spentOn();
  const figures = await page.evaluate(async (ms) => {
    const long = [];
    new PerformanceObserver((entries) => long.push(...entries.getEntries().map((entry) => entry.duration))).observe({ type: "longtask" });
    let frames = 0;
    let worst = 0;
    let comments = 0;
    window.chorus.client.on("comments", ({ added }) => (comments += added.length));
    const from = performance.now();
    await new Promise((done) => {
      let last = from;
      const frame = (now) => {
        frames += 1;
        worst = Math.max(worst, now - last);
        last = now;
        if (now - from < ms) requestAnimationFrame(frame);
        else done();
      };
      requestAnimationFrame(frame);
    });
    const spent = (performance.now() - from) / 1000;
    const round = (value) => Math.round(value * 10) / 10;
    return {
      seconds: round(spent),
      comments_per_s: round(comments / spent),
      fps: round(frames / spent),
      long_tasks: long.length,
      long_tasks_ms: Math.round(long.reduce((sum, one) => sum + one, 0)),
      worst_frame_ms: Math.round(worst),
      lines: document.querySelectorAll("#list li").length,
      elements: document.querySelectorAll("#list *").length,
    };
  }, seconds * 1000);
  const after = await spentOn();
  for (const [kind, name] of [["script", "ScriptDuration"], ["style", "RecalcStyleDuration"], ["layout", "LayoutDuration"], ["all", "TaskDuration"]]) {
    figures[`${kind}_ms_per_s`] = Math.round(((after[name] - before[name]) * 1000) / figures.seconds);
  }
  console.log(JSON.stringify(figures));
} finally {
  await browser.close();
}
