// The test vectors of docs/protocol.md for callers.

import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Key, reaction } from './caller.mjs';

const { caller } = JSON.parse(readFileSync(new URL('../../docs/vectors.json', import.meta.url)));
const key = new Key(createPrivateKey({ key: caller.key, format: 'jwk' }));

test('thumbprint', () => assert.equal(key.thumbprint, caller.thumbprint));

for (const { claims, nonce, ...request } of caller.proofs) {
  test(`proof for ${request.url}`, () => {
    const proof = key.proof({ ...request, nonce, token: caller.token, now: claims.iat, jti: claims.jti });
    assert.deepEqual(JSON.parse(Buffer.from(proof.split('.')[1], 'base64url')), claims);
  });
}

for (const { name, mode, status, headers, reaction: expected } of caller.answers) {
  test(`answer: ${name}`, () => assert.deepEqual(reaction(mode, status, new Headers(headers)), expected));
}
