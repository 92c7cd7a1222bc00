/** Bundles each `test/unit/*.test.ts` into `build/unit/`, where node's test runner can read it. */
import { readdir, rm } from "node:fs/promises";
import { build } from "esbuild";

const root = new URL("..", import.meta.url).pathname;
const files = (await readdir(`${root}test/unit`)).filter((name) => name.endsWith(".test.ts"));
await rm(`${root}build/unit`, { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: files.map((name) => `test/unit/${name}`),
  outdir: "build/unit",
  outExtension: { ".js": ".mjs" },
  bundle: true,
  packages: "external",
  platform: "node",
  format: "esm",
  target: "node20",
  sourcemap: "inline",
  logLevel: "warning",
});
