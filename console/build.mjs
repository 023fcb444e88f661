// Builds the page into dist/: index.html, console-<hash>.js and keygate-keys.js, the web component. The same sources give the
// same bytes. Each script ends with the licences of the packages that are in it.
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import esbuild from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));

/** Style sheets are imported as text, because a component adopts them in its shadow root. @type {esbuild.Plugin} */
const styles = {
  name: "styles",
  setup(build) {
    build.onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const { code } = await esbuild.transform(await readFile(path, "utf8"), { loader: "css", minify: true });
      return { contents: code, loader: "text" };
    });
  },
};

/**
 * The licences of the packages that a bundle contains, as a comment: each text once, with the names of its packages.
 * @param {esbuild.Metafile} metafile
 */
async function licences(metafile) {
  const packages = new Set(Object.keys(metafile.inputs).flatMap((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? []));
  /** @type {Map<string, string[]>} */
  const texts = new Map();
  for (const name of [...packages].sort()) {
    const folder = `${here}node_modules/${name}/`;
    const file = (await readdir(folder)).find((file) => /^licen[cs]e(\.|$)/i.test(file));
    if (file === undefined) {
      throw new Error(`${name} has no file with its licence`);
    }
    const text = (await readFile(folder + file, "utf8")).trim();
    texts.set(text, [...(texts.get(text) ?? []), name]);
  }
  const paragraphs = [...texts].map(([text, names]) => `${names.join(", ")}:\n\n${text}`);
  return `/*!\n${paragraphs.join("\n\n").replaceAll("*/", "* /")}\n*/`;
}

export async function build() {
  const dist = `${here}dist`;
  await rm(dist, { recursive: true, force: true });
  await mkdir(dist);
  /** @type {esbuild.BuildOptions & {metafile: true}} */
  const options = {
    entryPoints: [
      { in: `${here}src/main.js`, out: "console" },
      { in: `${here}src/embed.js`, out: "keygate-keys" },
    ],
    absWorkingDir: here,
    outdir: dist,
    entryNames: "[name]-[hash]",
    bundle: true,
    format: "esm",
    target: "es2022",
    minify: true,
    legalComments: "none",
    charset: "utf8",
    metafile: true,
    plugins: [styles],
  };
  // The licences are a part of the content that the names are made of, so what is in the bundle is found out before.
  const { metafile: contents } = await esbuild.build({ ...options, write: false });
  const { metafile } = await esbuild.build({ ...options, footer: { js: await licences(contents) } });
  const outputs = Object.keys(metafile.outputs).map((path) => basename(path));
  const script = outputs.find((name) => name.startsWith("console-"));
  const component = outputs.find((name) => name.startsWith("keygate-keys-"));
  if (!script || !component) {
    throw new Error(`unexpected outputs: ${outputs.join(", ")}`);
  }
  // The component has a stable name, because other pages load it.
  await writeFile(`${dist}/keygate-keys.js`, await readFile(`${dist}/${component}`));
  await rm(`${dist}/${component}`);
  const page = await readFile(`${here}src/index.html`, "utf8");
  await writeFile(`${dist}/index.html`, page.replace("__SCRIPT__", script));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await build();
}
