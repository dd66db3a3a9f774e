import { readFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { generated, TARGET } from '../scripts/generated.js';

test('src/api is what `npm run generate` makes of the documents of the services', { timeout: 30_000 }, async () => {
  const files = await generated();
  expect(Object.keys(files).sort()).toEqual(['billing.d.ts', 'countries.ts', 'product.d.ts', 'user.d.ts']);
  for (const [name, text] of Object.entries(files)) {
    expect(await readFile(new URL(name, TARGET), 'utf8'), name).toBe(text);
  }
});
