/** The reaction bar with running totals, and the emoji that rise over the stage. */
import { REACTION_TYPES, type Chorus, type Counts, type StreamHandle } from "../sdk/index.js";
import { byId, el, reducedMotion } from "./dom.js";

const EMOJI: Record<string, string> = { like: "👍", love: "❤️", haha: "😂", wow: "😮", sad: "😢", angry: "😡" };
/** On the stage at once; more would only be noise, and cost frames. */
const FLOATS_MAX = 30;
/** Per batch and type: a thousand likes are told by the number. */
const FLOATS_PER_BATCH_MAX = 6;

const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export function reactionBar(chorus: Chorus, stream: StreamHandle, ask: () => boolean): void {
  const bar = byId("reactions");
  const floats = byId("floats");
  const totals = new Map<string, { button: HTMLButtonElement; total: HTMLElement }>();
  /** Own clicks have already risen when the total that holds them comes. */
  const ownRisen: Counts = {};

  for (const type of REACTION_TYPES) {
    const total = el("span", { className: "total", text: "0" });
    const face = el("span", { className: "face", text: EMOJI[type] ?? type });
    face.setAttribute("aria-hidden", "true");
    const button = el("button", { data: { reaction: type }, title: type }, face, total);
    button.type = "button";
    button.addEventListener("click", () => {
      if (button.getAttribute("aria-disabled") === "true" || !ask()) return;
      stream.react(type);
      ownRisen[type] = (ownRisen[type] ?? 0) + 1;
      rise(floats, type);
    });
    bar.append(button);
    totals.set(type, { button, total });
  }

  const show = (): void => {
    for (const [type, { button, total }] of totals) {
      const count = stream.view?.reactions[type] ?? 0;
      total.textContent = short.format(count);
      total.dataset["count"] = String(count);
      button.setAttribute("aria-label", `${type}, ${count} so far`);
    }
  };
  show();
  chorus.on("joined", show);
  chorus.on("connection", (state) => {
    if (state.phase !== "open") for (const type of Object.keys(ownRisen)) delete ownRisen[type];
  });
  chorus.on("reactions", ({ growth }) => {
    show();
    for (const [type, count] of Object.entries(growth)) {
      const own = Math.min(count, ownRisen[type] ?? 0);
      if (own > 0) ownRisen[type] = (ownRisen[type] ?? 0) - own;
      for (let n = 0; n < Math.min(count - own, FLOATS_PER_BATCH_MAX); n += 1) rise(floats, type);
    }
  });
}

function rise(floats: HTMLElement, type: string): void {
  if (reducedMotion() || document.hidden || floats.childElementCount >= FLOATS_MAX) return;
  const float = el("span", { text: EMOJI[type] ?? "✨" });
  float.style.setProperty("--x", `${8 + Math.random() * 84}%`);
  float.style.setProperty("--sway", `${Math.round(Math.random() * 60 - 30)}px`);
  float.style.setProperty("--delay", `${Math.round(Math.random() * 200)}ms`);
  float.addEventListener("animationend", () => float.remove());
  floats.append(float);
}
