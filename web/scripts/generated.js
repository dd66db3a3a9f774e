// What `npm run generate` writes. A test compares it with the files that are checked in.
import { readFile } from 'node:fs/promises';

import openapiTypescript, { astToString } from 'openapi-typescript';

const HEADER = '// Made by `npm run generate`. Do not edit.\n';
const SERVICES = new URL('../../services/', import.meta.url);

export const TARGET = new URL('../src/api/', import.meta.url);

/** @returns {Promise<Record<string, string>>} the text of each file in src/api, by its name */
export async function generated() {
  /** @type {Record<string, string>} */
  const files = {};
  for (const service of ['user', 'product', 'billing']) {
    const ast = await openapiTypescript(new URL(`${service}/openapi.json`, SERVICES), { alphabetize: true });
    files[`${service}.d.ts`] = HEADER + astToString(ast);
  }
  // Types vanish when the storefront is built, and the address form needs the codes.
  const user = JSON.parse(await readFile(new URL('user/openapi.json', SERVICES), 'utf8'));
  const codes = user.components.schemas.Address.properties.country.enum.join(' ');
  files['countries.ts'] = `${HEADER}export const COUNTRY_CODES = '${codes}'.split(' ');\n`;
  return files;
}
