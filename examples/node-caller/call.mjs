// node call.mjs SERVICE CALLEE MODE URL: call a service, and print the status and the body of the answer as JSON.
//
// Variables: MSTOKEN_TOKEN_SERVICE_URL, MSTOKEN_API_KEY, and optionally MSTOKEN_PRIVATE_KEY_FILE, GCE_METADATA_HOST and
// FIREBASE_AUTH_EMULATOR_HOST. Several URLs are called one after another.

import { readFileSync } from 'node:fs';
import { Caller, assertion, googleIdentity } from './caller.mjs';

const { MSTOKEN_TOKEN_SERVICE_URL, MSTOKEN_API_KEY, MSTOKEN_PRIVATE_KEY_FILE, FIREBASE_AUTH_EMULATOR_HOST } = process.env;
const [service, callee, mode, ...urls] = process.argv.slice(2);
const caller = new Caller({
  credential: MSTOKEN_PRIVATE_KEY_FILE ? assertion(service, readFileSync(MSTOKEN_PRIVATE_KEY_FILE)) : googleIdentity(),
  tokenServiceUrl: MSTOKEN_TOKEN_SERVICE_URL,
  apiKey: MSTOKEN_API_KEY,
  ...(FIREBASE_AUTH_EMULATOR_HOST && { signInUrl: `http://${FIREBASE_AUTH_EMULATOR_HOST}/identitytoolkit.googleapis.com/v1` }),
});
for (const url of urls) {
  const answer = await caller.fetch(callee, url, { mode });
  console.log(JSON.stringify({ status: answer.status, body: await answer.json() }));
}
