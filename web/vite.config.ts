import { defineConfig } from 'vitest/config';

// `npm run dev` serves the storefront with the services of `make run` behind /api, as Hosting does in production.
// PORT_OFFSET is the offset that `make run` was started with.
const offset = Number(process.env['PORT_OFFSET'] ?? 0);
const SERVICES = { user: 8001, product: 8002, billing: 8003 };

const proxy = Object.fromEntries(
  Object.entries(SERVICES).map(([name, port]) => [
    `/api/${name}`,
    {
      target: `http://127.0.0.1:${port + offset}`,
      rewrite: (path: string) => path.slice(`/api/${name}`.length) || '/',
    },
  ]),
);

export default defineConfig({
  server: { host: '127.0.0.1', port: 5173 + offset, strictPort: true, proxy },
  preview: { host: '127.0.0.1', port: 4173 + offset, strictPort: true, proxy },
  build: {
    target: 'es2022',
    // Browsers that know light-dark(), which the design's colours are written with.
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'],
    // The polyfill and data URLs would need a weaker Content-Security-Policy.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    reportCompressedSize: true,
  },
  test: { include: ['tests/**/*.test.ts'], environment: 'node' },
});
