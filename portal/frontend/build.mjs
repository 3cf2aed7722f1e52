// Builds ../static from src: one module a page with shared, content-hashed chunks, one style
// sheet, fonts and icons. Everything is made in memory first, so a failed build leaves the
// previous files as they were.
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { initWasm, Resvg } from '@resvg/resvg-wasm';
import * as esbuild from 'esbuild';
import { createRequire } from 'node:module';

const here = dirname(fileURLToPath(import.meta.url));
const source = join(here, 'src');
const target = join(here, '..', 'static');

/** Files that are compressed already. */
const PACKED = new Set(['.woff2', '.png']);
/** Pictures for what takes no SVG: phones' home screens, older browsers. */
const PICTURES = [
  { name: 'favicon-32.png', from: 'favicon.svg', size: 32 },
  { name: 'icon-192.png', from: 'favicon.svg', size: 192 },
  { name: 'icon-512.png', from: 'favicon.svg', size: 512 },
  { name: 'icon-maskable-512.png', from: 'icon-maskable.svg', size: 512 },
  { name: 'apple-touch-icon.png', from: 'icon-maskable.svg', size: 180 },
];

const common = {
  absWorkingDir: here,
  bundle: true,
  minify: true,
  write: false,
  metafile: true,
  outdir: target,
  target: ['es2022', 'chrome123', 'firefox120', 'safari17.5'],
  loader: { '.woff2': 'file' },
  assetNames: 'fonts/[name]-[hash]',
  legalComments: 'none',
};

/** Bundle modules, the classic scripts (the theme switch must run before the first paint), style. */
async function bundle() {
  const pages = (await readdir(join(source, 'js', 'pages'))).filter((name) => name.endsWith('.js'));
  const builds = await Promise.all([
    esbuild.build({
      ...common,
      entryPoints: pages.map((name) => ({
        in: join(source, 'js', 'pages', name),
        out: name.replace(/\.js$/, ''),
      })),
      format: 'esm',
      splitting: true,
      chunkNames: 'chunks/[name]-[hash]',
    }),
    esbuild.build({
      ...common,
      entryPoints: [
        { in: join(source, 'js', 'theme.js'), out: 'theme' },
        { in: join(source, 'sw.js'), out: 'sw' },
      ],
      format: 'iife',
    }),
    esbuild.build({
      ...common,
      entryPoints: [{ in: join(source, 'css', 'style.css'), out: 'style' }],
    }),
  ]);
  const files = new Map();
  const inputs = new Set();
  for (const build of builds) {
    for (const file of build.outputFiles) files.set(file.path, file.contents);
    for (const input of Object.keys(build.metafile.inputs)) inputs.add(input);
  }
  files.set(join(target, 'modules.json'), Buffer.from(JSON.stringify(imported(builds[0].metafile))));
  return { files, inputs };
}

/** Which chunks each page's module imports, at whatever depth: a browser is told of all at once. */
function imported({ outputs }) {
  const reach = (output, found) => {
    for (const { path, kind } of outputs[output]?.imports ?? []) {
      if (kind !== 'import-statement' || found.has(path)) continue;
      found.add(path);
      reach(path, found);
    }
    return found;
  };
  const inside = (path) => join(here, path).slice(target.length + 1);
  const pages = Object.keys(outputs).filter((output) => outputs[output].entryPoint);
  return Object.fromEntries(pages.map((output) => [inside(output), [...reach(output, new Set())].map(inside).sort()]));
}

/** The licences of every package that the bundles contain. */
async function licences(inputs) {
  const names = new Set();
  for (const input of inputs) {
    const match = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (match) names.add(match[1]);
  }
  const parts = [];
  for (const name of [...names].sort()) {
    const folder = join(here, 'node_modules', name);
    const { version, license } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
    const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file ? await readFile(join(folder, file), 'utf8') : '';
    parts.push(`${name} ${version} (${license})\n\n${text.trim()}\n`);
  }
  return Buffer.from(parts.join(`\n${'-'.repeat(80)}\n\n`));
}

let drawing;

/** Draw the pictures from the same sources as the icons. */
async function pictures() {
  const wasm = createRequire(import.meta.url).resolve('@resvg/resvg-wasm/index_bg.wasm');
  drawing ??= readFile(wasm).then(initWasm);
  await drawing;
  return Promise.all(
    PICTURES.map(async ({ name, from, size }) => {
      const svg = await readFile(join(source, 'assets', from), 'utf8');
      return [name, Buffer.from(new Resvg(svg, { fitTo: { mode: 'width', value: size } }).render().asPng())];
    }),
  );
}

async function build() {
  const { files, inputs } = await bundle();
  for (const name of await readdir(join(source, 'assets'))) {
    files.set(join(target, name), await readFile(join(source, 'assets', name)));
  }
  for (const [name, contents] of await pictures()) files.set(join(target, name), contents);
  files.set(join(target, 'licences.txt'), await licences(inputs));
  for (const [path, contents] of [...files]) {
    if (PACKED.has(extname(path))) continue;
    files.set(`${path}.gz`, gzipSync(contents, { level: 9 }));
    files.set(
      `${path}.br`,
      brotliCompressSync(contents, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }),
    );
  }
  await rm(target, { recursive: true, force: true });
  for (const [path, contents] of files) {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, contents);
  }
  for (const [path, contents] of [...files].sort(([a], [b]) => a.localeCompare(b))) {
    if (!/\.(gz|br)$/.test(path)) {
      const packed = files.get(`${path}.br`) ?? contents;
      const name = path.slice(target.length + 1).padEnd(44);
      console.log(`${name} ${String(contents.length).padStart(8)} ${String(packed.length).padStart(8)}`);
    }
  }
}

await build();
if (process.argv.includes('--watch')) {
  const { watch } = await import('node:fs');
  let timer;
  watch(source, { recursive: true }, () => {
    clearTimeout(timer);
    timer = setTimeout(() => build().catch((error) => console.error(error.message)), 100);
  });
}
