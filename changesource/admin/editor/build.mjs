// Bundles json_editor.js and what it imports into one file, and the licences of all that into another.
//   make editor

import { readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const target = new URL("../../static/changesource/", import.meta.url).pathname;
const result = await build({
  entryPoints: [new URL("json_editor.js", import.meta.url).pathname],
  outfile: `${target}json_editor.js`,
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  legalComments: "none",
  metafile: true,
  banner: { js: "// Built by `make editor` out of admin/editor/json_editor.js. Licences: json_editor.LICENSES.txt." },
});

const packages = [...new Set(Object.keys(result.metafile.inputs).map(packageOf).filter(Boolean))].sort();
const licences = packages.map((name) => {
  const folder = new URL(`node_modules/${name}/`, import.meta.url);
  const { version } = JSON.parse(readFileSync(new URL("package.json", folder)));
  return `${name} ${version}\n\n${readFileSync(new URL("LICENSE", folder), "utf8").trim()}\n`;
});
writeFileSync(`${target}json_editor.LICENSES.txt`, licences.join(`\n${"-".repeat(80)}\n\n`));

function packageOf(path) {
  return /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1];
}
