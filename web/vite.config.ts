import type { Connect, Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

// `npm run dev` serves the storefront with the services of `make run` behind /api, as Hosting does in production.
// PORT_OFFSET is the offset that `make run` was started with.
const offset = Number(process.env['PORT_OFFSET'] ?? 0);
const SERVICES = { user: 8001, product: 8002, billing: 8003 };
const HOSTING = `http://127.0.0.1:${5000 + offset}`;

const proxy = Object.fromEntries(
  Object.entries(SERVICES).map(([name, port]) => [
    `/api/${name}`,
    {
      target: `http://127.0.0.1:${port + offset}`,
      rewrite: (path: string) => path.slice(`/api/${name}`.length) || '/',
    },
  ]),
);

/** Serves the config.json that `make run` has written, with the services behind /api. */
function configOfMakeRun(): Plugin {
  const serve: Connect.NextHandleFunction = (_request, response) => {
    const apis = Object.fromEntries(Object.keys(SERVICES).map((name) => [name, `/api/${name}`]));
    fetch(`${HOSTING}/config.json`)
      .then((answer) => answer.json())
      .then(
        (config: object) => response.end(JSON.stringify({ ...config, apis })),
        () => {
          response.statusCode = 502;
          response.end(`No shop answers at ${HOSTING}. Start one with make run; PORT_OFFSET must be its offset.`);
        },
      );
  };
  return {
    name: 'config-of-make-run',
    configureServer: (server) => void server.middlewares.use('/config.json', serve),
    configurePreviewServer: (server) => void server.middlewares.use('/config.json', serve),
  };
}

export default defineConfig({
  plugins: [configOfMakeRun()],
  server: { host: '127.0.0.1', port: 5173 + offset, strictPort: true, proxy },
  preview: { host: '127.0.0.1', port: 4173 + offset, strictPort: true, proxy },
  build: {
    target: 'es2022',
    // Browsers that know light-dark(), which the design's colours are written with.
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'],
    // The polyfill and data URLs would need a weaker Content-Security-Policy.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
  },
  test: { include: ['tests/**/*.test.ts'], environment: 'node' },
});
