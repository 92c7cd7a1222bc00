/** The few DOM helpers the page needs. Text goes in by `textContent` alone: a comment is never markup. */

export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element as T;
}

type Child = Node | string | null;

export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  fields: { className?: string; text?: string; label?: string; title?: string; data?: Record<string, string> } = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (fields.className) element.className = fields.className;
  if (fields.text !== undefined) element.textContent = fields.text;
  if (fields.label) element.setAttribute("aria-label", fields.label);
  if (fields.title) element.title = fields.title;
  Object.assign(element.dataset, fields.data);
  for (const child of children) if (child !== null) element.append(child);
  return element;
}

export function button(className: string, text: string, label: string, onClick: () => void): HTMLButtonElement {
  const element = el("button", { className, text, label, title: label, data: { action: className } });
  element.type = "button";
  element.addEventListener("click", onClick);
  return element;
}

export function reducedMotion(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}
