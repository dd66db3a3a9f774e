// Makes src/api/<service>.d.ts from services/<service>/openapi.json.
import { mkdir, writeFile } from 'node:fs/promises';

import openapiTypescript, { astToString } from 'openapi-typescript';

const HEADER = '// Made by `npm run generate`. Do not edit.\n';
const services = new URL(process.argv[2] ?? '../../services/', import.meta.url);
const target = new URL('../src/api/', import.meta.url);

await mkdir(target, { recursive: true });
for (const name of ['user', 'product', 'billing']) {
  const ast = await openapiTypescript(new URL(`${name}/openapi.json`, services), { alphabetize: true });
  await writeFile(new URL(`${name}.d.ts`, target), HEADER + astToString(ast));
}
