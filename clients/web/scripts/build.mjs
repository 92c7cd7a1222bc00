/** Writes `dist/`: the page (`index.html`, `app.js`, `app.css`) and the SDK (`chorus.js`, `chorus.d.ts`). */
import { cp, mkdir, rm, writeFile } from "node:fs/promises";
import { build } from "esbuild";

const root = new URL("..", import.meta.url);
const at = (path) => new URL(path, root).pathname;

await rm(at("dist/app.js"), { force: true });
await mkdir(at("dist"), { recursive: true });
const common = { bundle: true, format: "esm", target: "es2022", charset: "utf8", logLevel: "warning", absWorkingDir: at(".") };
await Promise.all([
  build({ ...common, entryPoints: ["src/page/main.ts"], outfile: "dist/app.js", minify: true }),
  build({ ...common, entryPoints: ["src/page/app.css"], outfile: "dist/app.css", minify: true }),
  build({ ...common, entryPoints: ["src/sdk/index.ts"], outfile: "dist/chorus.js" }),
  build({ ...common, entryPoints: ["src/sdk/msgpack.ts"], outfile: "dist/chorus-msgpack.js" }),
  cp(at("src/page/index.html"), at("dist/index.html")),
  cp(at("src/page/favicon.svg"), at("dist/favicon.svg")),
  writeFile(at("dist/chorus.d.ts"), 'export * from "./types/index.js";\n'),
  writeFile(at("dist/chorus-msgpack.d.ts"), 'export * from "./types/msgpack.js";\n'),
]);
