// The test vectors of docs/protocol.md, on the callee of this folder.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Callee, Refusal, SpentIds } from './callee.mjs';

const vectors = JSON.parse(readFileSync(new URL('../../docs/vectors.json', import.meta.url)));

function verdict(refusal) {
  const answer = refusal.headers(vectors.service);
  assert.ok(refusal.status !== 503 || Number(answer['Retry-After']) > 0);
  const challenges = [...(answer['WWW-Authenticate'] ?? '').matchAll(/(\w+) realm="product"(?:, error="(\w+)")?/g)].map(
    ([, scheme, error]) => (error ? { scheme, error } : { scheme }),
  );
  return {
    status: refusal.status,
    code: refusal.code,
    ...(challenges.length && { challenges }),
    ...(answer['DPoP-Nonce'] && { has_nonce: true }),
  };
}

for (const { group, name, requests, ...more } of vectors.cases) {
  test(`${group}: ${name}`, async () => {
    let now;
    const identities = { ...vectors.identities, ...more.identities };
    const callee = new Callee({
      name: vectors.service,
      project: vectors.project,
      baseUrl: vectors.base_url,
      certificate: async (kid) => (Object.hasOwn(vectors.certificates, kid) ? vectors.certificates[kid] : undefined),
      identity: async (uid) =>
        uid in identities && {
          disabled: identities[uid].disabled,
          validSince: identities[uid].valid_since,
          createdAt: identities[uid].created_at,
        },
      spentIds: new SpentIds(more.spent_ids_since ?? 0),
      nonces: more.nonces && { accepts: (nonce) => more.nonces.valid.includes(nonce), issue: () => more.nonces.valid[0] },
      clock: () => now,
    });
    for (const { clock, expect, ...request } of requests) {
      now = clock;
      const found = await callee.authorize(request, more.admits ?? vectors.admits).then(
        (caller) => ({ status: 200, ...caller }),
        (error) => {
          if (!(error instanceof Refusal)) throw error;
          return verdict(error);
        },
      );
      assert.deepEqual(found, expect);
    }
  });
}
