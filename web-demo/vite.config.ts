import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

const relay = process.env.RELAY_URL ?? 'http://127.0.0.1:8787';
const behindRelay = ['/v1', '/dev/token', '/sync', '/collab', '/ws', '/parties'];

export default defineConfig({
  // Where the relay serves it: `serve --web dist`.
  base: '/demo/',
  plugins: [react()],
  build: {
    target: 'es2022',
    // The editor is one library; splitting it further would not make the first page faster.
    chunkSizeWarningLimit: 700,
  },
  // `npm run dev`: the pages from Vite, everything else from a relay that runs already.
  server: {
    proxy: Object.fromEntries(behindRelay.map(path => [path, { target: relay, ws: true }])),
  },
  test: {
    environment: 'jsdom',
    include: ['src/**/*.test.{ts,tsx}'],
    restoreMocks: true,
    // Files clean up after themselves, so one document does for several of them.
    pool: 'threads',
    isolate: false,
  },
});
