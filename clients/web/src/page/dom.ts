/** The few DOM helpers the page needs. Text goes in by `textContent` alone: a comment is never markup. */

export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element as T;
}

type Child = Node | string | null;

export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  fields: { className?: string; text?: string; title?: string; data?: Record<string, string> } = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (fields.className) element.className = fields.className;
  if (fields.text !== undefined) element.textContent = fields.text;
  if (fields.title) element.title = fields.title;
  Object.assign(element.dataset, fields.data);
  for (const child of children) if (child !== null) element.append(child);
  return element;
}

/** A person's text among the page's own words, so that its direction does not turn them around. */
export function bdi(text: string, className = ""): HTMLElement {
  const element = el("bdi", { className, text });
  element.dir = "auto";
  return element;
}

/** The same where only a string fits: between FIRST STRONG ISOLATE and POP DIRECTIONAL ISOLATE. */
export function isolated(text: string): string {
  return `\u2068${text}\u2069`;
}

export function setText(element: HTMLElement, text: string): void {
  // An unchanged text is left alone: a live region would say it again.
  if (element.textContent !== text) element.textContent = text;
}

export function reducedMotion(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}
