/**
 * Writes `dist/`: the page (`index.html`, `app.js`, `app.css`) and the SDK (`chorus.js`, `chorus.d.ts`), and beside what a
 * page loads the same in brotli, which a PoP serves where a browser takes it.
 */
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import { brotliCompress } from "node:zlib";
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

const loaded = ["index.html", "app.js", "app.css", "favicon.svg", "chorus.js", "chorus-msgpack.js"];
await Promise.all(
  loaded.map(async (name) => {
    const packed = await promisify(brotliCompress)(await readFile(at(`dist/${name}`)));
    await writeFile(at(`dist/${name}.br`), packed);
  }),
);
