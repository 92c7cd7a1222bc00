/** The page's colours: 4.5:1 for text in both schemes (WCAG 2.2, 1.4.3), read from its stylesheet. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const css = readFileSync(new URL("../../src/page/app.css", import.meta.url), "utf8");
const [light = "", dark = ""] = [...css.matchAll(/:root \{([^}]*)\}/g)].map((found) => found[1]);

type Rgb = [number, number, number];

const linear = (value: number): number => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
const luminance = ([r, g, b]: Rgb): number => 0.2126 * r + 0.7152 * g + 0.0722 * b;

/** Linear light of `#rrggbb`. */
function hex(text: string): Rgb {
  const parts = /^#(..)(..)(..)$/.exec(text)?.slice(1);
  assert.ok(parts, `no colour: ${text}`);
  return parts.map((part) => linear(Number.parseInt(part, 16) / 255)) as Rgb;
}

/** Linear light of an Oklch colour (CSS Color 4, 9.4), clipped to sRGB. */
function oklch(lightness: number, chroma: number, hue: number): Rgb {
  const a = chroma * Math.cos((hue * Math.PI) / 180);
  const b = chroma * Math.sin((hue * Math.PI) / 180);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const rgb: Rgb = [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
  return rgb.map((value) => Math.min(1, Math.max(0, value))) as Rgb;
}

function contrast(one: Rgb, other: Rgb): number {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b) as [number, number];
  return (high + 0.05) / (low + 0.05);
}

/** The colours of a scheme; the dark one takes from the light one what it does not change. */
function scheme(name: "light" | "dark"): (variable: string) => string {
  return (variable) => {
    const find = (rules: string) => new RegExp(`--${variable}: ([^;]+);`).exec(rules)?.[1];
    const value = (name === "dark" ? find(dark) : undefined) ?? find(light);
    assert.ok(value, `the stylesheet has no --${variable}`);
    return value;
  };
}

/** Text on what it stands on. */
const PAIRS: [string, string[]][] = [
  ["ink", ["ground", "panel", "raised"]],
  ["quiet", ["ground", "panel", "raised"]],
  ["accent-ink", ["accent"]],
  ["accent-text", ["panel", "raised"]],
  ["good", ["panel", "raised"]],
  ["bad", ["panel", "raised"]],
  ["warn", ["panel", "raised"]],
  ["panel", ["warn"]],
];

for (const name of ["light", "dark"] as const) {
  test(`${name}: every text has a contrast of 4.5 on what it stands on`, () => {
    const of = scheme(name);
    for (const [text, grounds] of PAIRS) {
      for (const ground of grounds) {
        const ratio = contrast(hex(of(text)), hex(of(ground)));
        assert.ok(ratio >= 4.5, `--${text} on --${ground}: ${ratio.toFixed(2)}`);
      }
    }
  });

  test(`${name}: so has every name, whatever its hue, and its letter in the avatar`, () => {
    const of = scheme(name);
    const [lightness, chroma] = tone(of("name"));
    const [under, underChroma] = tone(of("avatar"));
    for (let hue = 0; hue < 360; hue += 1) {
      const text = oklch(lightness, chroma, hue);
      for (const ground of ["panel", "raised"]) {
        const ratio = contrast(text, hex(of(ground)));
        assert.ok(ratio >= 4.5, `hue ${hue} on --${ground}: ${ratio.toFixed(2)}`);
      }
      const letter = contrast(text, oklch(under, underChroma, hue));
      assert.ok(letter >= 4.5, `the letter of hue ${hue}: ${letter.toFixed(2)}`);
    }
  });

  test(`${name}: a text that is not posted yet is dimmed, and still has it`, () => {
    const of = scheme(name);
    const opacity = Number(/\.comment\.pending \.text \{ opacity: ([\d.]+); \}/.exec(css)?.[1]);
    const blend = (ink: string, ground: string): Rgb =>
      [1, 3, 5].map((at) => {
        const part = (text: string) => Number.parseInt(text.slice(at, at + 2), 16) / 255;
        return linear(part(ink) * opacity + part(ground) * (1 - opacity));
      }) as Rgb;
    for (const ground of ["panel", "raised"]) {
      const ratio = contrast(blend(of("ink"), of(ground)), hex(of(ground)));
      assert.ok(ratio >= 4.5, `on --${ground}: ${ratio.toFixed(2)}`);
    }
  });
}

function tone(text: string): [number, number] {
  const [lightness, chroma] = /^([\d.]+)% ([\d.]+)$/.exec(text)?.slice(1).map(Number) ?? [];
  assert.ok(lightness !== undefined && chroma !== undefined, `no tone: ${text}`);
  return [lightness / 100, chroma];
}
