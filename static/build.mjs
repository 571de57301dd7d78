// Builds static/dist/ from static/src/, the templates and the locked npm packages.
//
//   app.css            Tailwind + the parts of Basecoat we use + our own styles
//   theme.js           a classic script, loaded first so that no page flashes in the wrong theme
//   <entry>.js         one ES module for each file directly in static/src/ (theme.js aside)
//   swagger-ui.css     the looks of the API reference
//   icons.svg          a sprite of the lucide icons that templates and scripts name with icon('…') or icon: '…', and nowhere else
//   inter-*.woff2      Inter, one file a subset
//   manifest.json      file name → name with a content hash; every linked name may be cached for ever

import { createHash } from 'node:crypto';
import { execFile } from 'node:child_process';
import { mkdir, readFile, readdir, rename, rm, watch, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import * as esbuild from 'esbuild';

const ROOT = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const SRC = path.join(ROOT, 'static/src');
const DIST = path.join(ROOT, 'static/dist');
const STAGE = path.join(ROOT, 'static/dist.new');
const MODULES = path.join(ROOT, 'node_modules');
const CACHE = path.join(MODULES, '.cache/dailies');

// Basecoat ships one stylesheet for forty components; these are the ones our pages use.
const COMPONENTS = [
  'alert', 'badge', 'button', 'button-group', 'card', 'checkbox', 'dialog', 'empty', 'field', 'input', 'input-group',
  'kbd', 'label', 'native-select', 'radio', 'skeleton', 'switch', 'table', 'textarea',
];
const STYLE = 'nova';

const manifest = {};

function hashed(name, content) {
  const { name: stem, ext } = path.parse(name);
  const hash = createHash('sha256').update(content).digest('hex').slice(0, 10);
  return `${stem}-${hash}${ext}`;
}

async function emit(name, content) {
  const out = hashed(name, content);
  await writeFile(path.join(STAGE, out), content);
  manifest[name] = out;
  return out;
}

async function filesBelow(folder, pattern) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((e) => e.isFile() && pattern.test(e.name)).map((e) => path.join(e.parentPath ?? e.path, e.name));
}

async function buildScripts() {
  const entries = (await readdir(SRC)).filter((f) => f.endsWith('.js') && f !== 'theme.js');
  const common = { bundle: true, minify: true, legalComments: 'none', target: 'es2022', logLevel: 'warning' };
  const [modules, theme] = await Promise.all([
    esbuild.build({
      ...common, entryPoints: entries.map((f) => path.join(SRC, f)), format: 'esm', splitting: true, metafile: true,
      entryNames: '[name]-[hash]', chunkNames: 'shared-[hash]', outdir: STAGE, absWorkingDir: ROOT,
    }),
    esbuild.build({ ...common, entryPoints: [path.join(SRC, 'theme.js')], format: 'iife', write: false }),
  ]);
  for (const [out, { entryPoint }] of Object.entries(modules.metafile.outputs)) {
    // What is imported when it is needed counts as an entry too; it finds its way by itself.
    if (entryPoint && path.dirname(entryPoint) === 'static/src') manifest[path.basename(entryPoint)] = path.basename(out);
  }
  await emit('theme.js', theme.outputFiles[0].contents);
}

async function buildFonts() {
  const folder = path.join(MODULES, '@fontsource-variable/inter');
  let css = await readFile(path.join(folder, 'wght.css'), 'utf8');
  for (const [, file, subset] of css.matchAll(/url\(\.\/files\/(inter-([a-z-]+)-wght-normal\.woff2)\)/g)) {
    const out = await emit(`inter-${subset}.woff2`, await readFile(path.join(folder, 'files', file)));
    css = css.replace(`./files/${file}`, `./${out}`);
  }
  return css;
}

async function basecoatSubset() {
  const folder = path.join(MODULES, 'basecoat-css/dist');
  const parts = [await readFile(path.join(folder, 'base/base.css'), 'utf8')];
  const style = await readFile(path.join(folder, `styles/${STYLE}.css`), 'utf8');
  const sections = new Map();
  for (const section of style.replace(/^@layer components \{$/m, '').split(/^(?= {0,2}\/\* [A-Z])/m)) {
    const title = section.match(/\/\* ([A-Za-z ]+) \*\//)?.[1];
    if (title) sections.set(title.toLowerCase().replaceAll(' ', '-'), section);
  }
  for (const name of COMPONENTS) {
    parts.push(await readFile(path.join(folder, `components/${name}.css`), 'utf8'));
    const section = sections.get(name);
    if (!section) throw new Error(`Basecoat's ${STYLE} style has no section for ${name}`);
    parts.push(`@layer components {\n${section}\n}`);
  }
  return parts.join('\n');
}

async function buildStyles() {
  await mkdir(CACHE, { recursive: true });
  await writeFile(path.join(CACHE, 'basecoat.css'), await basecoatSubset());
  const fonts = await buildFonts();
  const out = path.join(CACHE, 'app.css');
  const cli = path.join(MODULES, '@tailwindcss/cli/dist/index.mjs');
  await promisify(execFile)(process.execPath, [cli, '-i', path.join(SRC, 'app.css'), '-o', out, '--minify'], { cwd: ROOT });
  await emit('app.css', `${fonts.replace(/\/\*.*?\*\/|\n\s*/gs, '')}\n${await readFile(out, 'utf8')}`);
}

async function buildIcons() {
  const names = new Set();
  const hidden = [];
  const sources = [...(await filesBelow(path.join(ROOT, 'templates'), /\.html$/)), ...(await filesBelow(SRC, /\.js$/))];
  for (const file of sources) {
    const text = await readFile(file, 'utf8');
    for (const match of text.matchAll(/\bicon(?:\(|['"]?\s*[:=])\s*['"]([a-z0-9-]+)['"]/g)) names.add(match[1]);
    // A choice between two names, or one that is put together, would be missing without a word.
    for (const match of text.matchAll(/\b(?:icon|setIcon)\((?:[^()]|\([^()]*\))*\)/g)) {
      if (/\?|\+|~|\$\{| if /.test(match[0])) hidden.push(`${path.relative(ROOT, file)}: ${match[0]}`);
    }
  }
  if (hidden.length) throw new Error(`The build cannot see which icons these are; name each as icon('…') or icon: '…':\n${hidden.join('\n')}`);
  const symbols = await Promise.all([...names].sort().map(async (name) => {
    const svg = await readFile(path.join(MODULES, `lucide-static/icons/${name}.svg`), 'utf8').catch(() => {
      throw new Error(`There is no lucide icon named ${name}`);
    });
    const shapes = svg.match(/<svg[^>]*>([\s\S]*)<\/svg>/)[1].replace(/\s*\n\s*/g, '');
    return `<symbol id="${name}" viewBox="0 0 24 24">${shapes}</symbol>`;
  }));
  await emit('icons.svg', `<svg xmlns="http://www.w3.org/2000/svg">${symbols.join('')}</svg>`);
}

async function build() {
  const started = performance.now();
  for (const key of Object.keys(manifest)) delete manifest[key];
  await rm(STAGE, { recursive: true, force: true });
  await mkdir(STAGE, { recursive: true });
  await emit('favicon.svg', await readFile(path.join(SRC, 'favicon.svg')));
  await emit('swagger-ui.css', await readFile(path.join(MODULES, 'swagger-ui-dist/swagger-ui.css')));
  await Promise.all([buildScripts(), buildStyles(), buildIcons()]);
  await writeFile(path.join(STAGE, 'manifest.json'), JSON.stringify(manifest, Object.keys(manifest).sort(), 2));
  // The finished folder replaces the old one whole: a server never sees half a build.
  await rm(DIST, { recursive: true, force: true });
  await rename(STAGE, DIST);
  console.log(`Front end built in ${((performance.now() - started) / 1000).toFixed(1)} s`);
}

await build();

if (process.argv.includes('--watch')) {
  const folders = [SRC, path.join(ROOT, 'templates')];
  let timer;
  await Promise.all(folders.map(async (folder) => {
    for await (const _ of watch(folder, { recursive: true })) {
      clearTimeout(timer);
      timer = setTimeout(() => build().catch((error) => console.error(error.message)), 150);
    }
  }));
}
