// Writes src/api: the types of each service's requests and answers, and the countries that an address may have.
import { writeFile } from 'node:fs/promises';

import { generated, TARGET } from './generated.js';

for (const [name, text] of Object.entries(await generated())) await writeFile(new URL(name, TARGET), text);
