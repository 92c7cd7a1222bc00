/** Which PoP the page is at, and the menu that moves it to another one. */
import type { Chorus, PopState } from "../sdk/index.js";
import { byId, el, setText } from "./dom.js";
import { milliseconds, roundTripWords } from "./words.js";

export function popMenu(client: Chorus): void {
  const button = byId<HTMLButtonElement>("pop-button");
  const menu = byId("pop-menu");
  const said = byId("pop-said");
  let names = "";
  let at: string | null = null;

  const items = (): HTMLButtonElement[] => [...menu.querySelectorAll("button")];
  const isOpen = (): boolean => !menu.hidden;

  function item(role: string, pop: string | null, ...content: Node[]): HTMLButtonElement {
    const made = el("button", { data: pop === null ? {} : { pop } }, ...content);
    made.type = "button";
    made.tabIndex = -1;
    made.setAttribute("role", role);
    made.addEventListener("click", () => {
      if (made.getAttribute("aria-disabled") === "true") return;
      client.moveTo(pop);
      close(true);
    });
    return made;
  }

  /** The lines are made anew only when other PoPs are listed, so that the focus stays where it is. */
  function showMenu(state: PopState): void {
    const listed = JSON.stringify(state.pops.map(({ pop, region }) => [pop, region]));
    if (listed !== names) {
      names = listed;
      const focused = (document.activeElement as HTMLElement | null)?.dataset["pop"];
      const lines = state.pops.map(({ pop, region }) =>
        item("menuitemradio", pop, el("b", { text: pop }), el("span", { text: region }), el("span", { className: "rtt" })),
      );
      menu.replaceChildren(...lines, item("menuitemcheckbox", null, el("b", { text: "Nearest" }), el("span", { text: "chosen by itself" })));
      if (isOpen() && focused !== undefined) lines.find((line) => line.dataset["pop"] === focused)?.focus();
    }
    for (const line of items()) {
      const pop = state.pops.find((one) => one.pop === line.dataset["pop"]);
      line.setAttribute("aria-checked", String(pop ? pop.pop === state.pop : !state.chosen));
      if (!pop) continue;
      line.setAttribute("aria-disabled", String(pop.state === "draining"));
      setText(line.lastElementChild as HTMLElement, roundTripWords(pop));
    }
  }

  function show(state: PopState): void {
    const alone = state.pops.length < 2;
    byId("pop").hidden = false;
    button.hidden = alone;
    byId("pop-alone").hidden = !alone;
    setText(byId("pop-alone"), state.pop);
    setText(byId("pop-name"), state.pop);
    setText(byId("pop-region"), ` · ${state.region}`);
    setText(byId("pop-rtt"), state.rttMs === null ? "" : ` · ${milliseconds(state.rttMs)}`);
    if (!alone) showMenu(state);
    else close(false);
    if (at !== null && at !== state.pop) setText(said, `Now at ${state.pop}, ${state.region}`);
    at = state.pop;
  }

  function open(): void {
    menu.hidden = false;
    button.setAttribute("aria-expanded", "true");
    (items().find((line) => line.getAttribute("aria-checked") === "true") ?? items()[0])?.focus();
    client.measurePops();
  }

  function close(back: boolean): void {
    if (!isOpen()) return;
    menu.hidden = true;
    button.setAttribute("aria-expanded", "false");
    if (back) button.focus();
  }

  button.addEventListener("click", () => (isOpen() ? close(true) : open()));
  button.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" || isOpen()) return;
    event.preventDefault();
    open();
  });
  menu.addEventListener("keydown", (event) => {
    const all = items();
    const here = all.indexOf(event.target as HTMLButtonElement);
    const to = { ArrowDown: here + 1, ArrowUp: here - 1 + all.length, Home: 0, End: all.length - 1 }[event.key];
    if (to !== undefined) all[to % all.length]?.focus();
    else if (event.key === "Escape") close(true);
    else return;
    event.preventDefault();
  });
  // Tab and a press elsewhere leave the menu; so does a window that is left.
  byId("pop").addEventListener("focusout", (event) => {
    if (!byId("pop").contains(event.relatedTarget as Node | null)) close(false);
  });
  document.addEventListener("pointerdown", (event) => {
    if (!byId("pop").contains(event.target as Node)) close(false);
  });
  client.on("pop", show);
  if (client.pop) show(client.pop);
}
