// Calls services as docs/protocol.md specifies, with tokens from the token service. The numbers are sections of that page.

import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, sign } from 'node:crypto';

const RENEW_SECONDS = 53 * 60;
const REPLACED = {
  fresh: ['token_stale', 'token_replayed', 'identity_disabled'],
  proof: ['token_expired', 'token_untrusted', 'identity_disabled'],
};

/** A P-256 key that signs JWTs with ES256. */
export class Key {
  constructor(privateKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey) {
    this.private = privateKey;
    const { crv, kty, x, y } = createPublicKey(privateKey).export({ format: 'jwk' });
    this.jwk = { crv, kty, x, y };
    this.thumbprint = sha256(JSON.stringify(this.jwk)); // RFC 7638: the members in this order
  }

  jwt(header, claims) {
    const signed = [{ alg: 'ES256', ...header }, claims].map((part) => base64url(JSON.stringify(part))).join('.');
    return `${signed}.${sign('sha256', Buffer.from(signed), { key: this.private, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
  }

  /** Section 6: a proof for one request. The path of `url` must be as it is sent. */
  proof({ method, url, token, now, nonce, jti = randomBytes(16).toString('base64url') }) {
    const { origin, pathname } = new URL(url);
    const claims = { jti, htm: method, htu: origin + pathname, iat: Math.floor(now), ath: sha256(token), ...(nonce && { nonce }) };
    return this.jwt({ typ: 'dpop+jwt', jwk: this.jwk }, claims);
  }
}

/** Section 11.2: the identity token of the platform. */
export const googleIdentity = (host = process.env.GCE_METADATA_HOST ?? 'metadata.google.internal') => async (audience) => {
  const url = new URL(`http://${host}/computeMetadata/v1/instance/service-accounts/default/identity`);
  url.search = new URLSearchParams({ audience, format: 'full' });
  const answer = await fetch(url, { headers: { 'Metadata-Flavor': 'Google' }, redirect: 'error' });
  if (!answer.ok) throw new Error(`The metadata server answered ${answer.status}.`);
  return answer.text();
};

/** Section 11.2: an assertion of `service`, signed with its registered key in PEM. */
export const assertion = (service, pem, clock = seconds) => async (audience) => {
  const key = new Key(createPrivateKey(pem));
  const iat = Math.floor(clock());
  const claims = { iss: service, sub: service, aud: audience, jti: randomBytes(16).toString('base64url'), iat, exp: iat + 60 };
  return key.jwt({ kid: key.thumbprint, typ: 'JWT' }, claims);
};

/** Section 10: what to do after an answer. */
export function reaction(mode, status, headers) {
  const error = status === 401 ? /error="(\w+)"/.exec(headers.get('WWW-Authenticate') ?? '')?.[1] : undefined;
  const nonce = headers.get('DPoP-Nonce');
  const isOld = REPLACED[mode].includes(error);
  return { again: isOld || (error === 'use_dpop_nonce' && !!nonce), new_token: isOld, nonce };
}

export class Caller {
  #key = new Key();
  #bound = new Map(); // callee -> { token, signedInAt }
  #nonces = new Map(); // callee -> the newest nonce

  /** `credential(audience)` resolves to a credential for the token service, `signInUrl` ends with `/v1`. */
  constructor({ credential, tokenServiceUrl, apiKey, signInUrl = 'https://identitytoolkit.googleapis.com/v1', clock = seconds }) {
    Object.assign(this, { credential, tokenServiceUrl, apiKey, signInUrl, clock });
  }

  /** Send a request to the service `callee`, as `fetch` does. `options.body` must be text or bytes. */
  async fetch(callee, url, { mode = 'fresh', method = 'GET', ...options } = {}) {
    for (let attempt = 1; ; attempt += 1) {
      const token = mode === 'fresh' ? await this.#signIn(callee, { mode }) : await this.#boundToken(callee);
      const headers = new Headers(options.headers);
      headers.set('X-MS-TOKEN', token);
      if (mode === 'proof') {
        headers.set('DPoP', this.#key.proof({ method, url, token, now: this.clock(), nonce: this.#nonces.get(callee) }));
      }
      const answer = await fetch(url, { ...options, method, headers, redirect: 'error' });
      const { again, new_token: isRefused, nonce } = reaction(mode, answer.status, answer.headers);
      if (nonce) this.#nonces.set(callee, nonce);
      if (!again || attempt === 2) return answer;
      const bound = this.#bound.get(callee);
      if (isRefused && bound?.token === token) {
        if (this.clock() - bound.signedInAt < 60) return answer; // Another new token would be refused as well.
        this.#bound.delete(callee);
      }
    }
  }

  async #boundToken(callee) {
    const bound = this.#bound.get(callee);
    if (bound && this.clock() - bound.signedInAt < RENEW_SECONDS) return bound.token;
    const signedInAt = this.clock();
    const token = await this.#signIn(callee, { mode: 'proof', jkt: this.#key.thumbprint });
    this.#bound.set(callee, { token, signedInAt });
    return token;
  }

  /** Sections 11.1 and 5.2: a custom token, and the ID token for it. The refresh token is thrown away. */
  async #signIn(audience, request) {
    const credential = async () => ({ Authorization: `Bearer ${await this.credential(this.tokenServiceUrl)}` });
    const { custom_token: token } = await this.#post(this.tokenServiceUrl, credential, { audience, ...request });
    const url = `${this.signInUrl}/accounts:signInWithCustomToken`;
    return (await this.#post(url, async () => ({ 'x-goog-api-key': this.apiKey }), { token, returnSecureToken: true })).idToken;
  }

  async #post(url, headers, content) {
    for (let attempt = 1; ; attempt += 1) {
      const answer = await fetch(url, {
        method: 'POST',
        headers: { ...(await headers()), 'Content-Type': 'application/json' },
        body: JSON.stringify(content),
        redirect: 'error',
        signal: AbortSignal.timeout(5000),
      });
      if (answer.ok) return answer.json();
      const wait = Math.max(Number(answer.headers.get('Retry-After')) || 0, 0.1 * 2 ** attempt * Math.random());
      if ((answer.status !== 429 && answer.status < 500) || attempt === 3 || wait > 2) {
        throw new Error(`${new URL(url).pathname} answered ${answer.status}: ${(await answer.text()).slice(0, 200)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, wait * 1000));
    }
  }
}

const seconds = () => Date.now() / 1000;

function sha256(text) {
  return createHash('sha256').update(text).digest('base64url');
}

function base64url(text) {
  return Buffer.from(text).toString('base64url');
}
