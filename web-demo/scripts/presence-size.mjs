// How large `src/presence` is in somebody's bundle: minified and compressed, without what an
// application has already (React) and without partysocket, which is told apart.

import { gzipSync } from 'node:zlib';

import { build } from 'vite';

const entry = new URL('../src/presence/index.ts', import.meta.url).pathname;

async function sizes(external) {
  const { output } = await build({
    configFile: false,
    logLevel: 'error',
    publicDir: false,
    build: {
      write: false,
      target: 'es2022',
      minify: true,
      // Not `es`: there Vite leaves the spaces to the application's own build.
      lib: { entry, formats: ['cjs'], fileName: 'presence', cssFileName: 'presence' },
      rolldownOptions: { external },
    },
  }).then(result => (Array.isArray(result) ? result[0] : result));
  const text = what =>
    output
      .filter(({ fileName }) => fileName.endsWith(what))
      .map(file => file.code ?? file.source)
      .join('');
  const size = what => ({ raw: text(what).length, gzip: gzipSync(text(what), { level: 9 }).length });
  return { js: size('js'), css: size('.css') };
}

const react = ['react', 'react/jsx-runtime', 'react-dom'];
const alone = await sizes([...react, 'partysocket']);
const whole = await sizes(react);
const kB = ({ raw, gzip }) => `${(gzip / 1000).toFixed(1)} kB gzip (${(raw / 1000).toFixed(1)} kB)`;
console.log(`presence, JavaScript  ${kB(alone.js)}`);
console.log(`presence, CSS         ${kB(alone.css)}`);
console.log(`with partysocket      ${kB(whole.js)}`);
