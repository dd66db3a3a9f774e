// A service in plain Node.js: `GET /stock` is for Billing, `GET /readyz` tells whether calls are accepted.
//
// Variables: SERVICE, GOOGLE_CLOUD_PROJECT, BASE_URL, PORT, and optionally FIREBASE_AUTH_EMULATOR_HOST, NONCE_SECRET and
// REQUIRE_PROOF.

import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';
import { initializeApp } from 'firebase-admin/app';
import { getAuth } from 'firebase-admin/auth';
import { Callee, Refusal, SpentIds } from './callee.mjs';

const { SERVICE, GOOGLE_CLOUD_PROJECT, BASE_URL, PORT, FIREBASE_AUTH_EMULATOR_HOST, NONCE_SECRET, REQUIRE_PROOF } = process.env;
if (FIREBASE_AUTH_EMULATOR_HOST && !GOOGLE_CLOUD_PROJECT.startsWith('demo-')) {
  throw new Error('With FIREBASE_AUTH_EMULATOR_HOST, GOOGLE_CLOUD_PROJECT must begin with demo-.');
}
const clock = () => Date.now() / 1000;

/** Google's certificates, or those of the signed Auth emulator. The SDK checks no signatures while an emulator is set. */
class Certificates {
  static #host = FIREBASE_AUTH_EMULATOR_HOST ? `http://${FIREBASE_AUTH_EMULATOR_HOST}` : 'https://www.googleapis.com';
  #url = `${Certificates.#host}/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com`;
  #certificates = {};
  #fetchedAt = -Infinity;
  #expiresAt = 0;

  async get(kid) {
    const isKnown = Object.hasOwn(this.#certificates, kid);
    if (clock() >= this.#expiresAt || (!isKnown && clock() - this.#fetchedAt > 10)) await this.#fetch();
    return Object.hasOwn(this.#certificates, kid) ? this.#certificates[kid] : undefined;
  }

  async #fetch() {
    this.#fetchedAt = clock();
    const answer = await fetch(this.#url, { signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(`certificates: ${answer.status}`);
    this.#certificates = await answer.json();
    this.#expiresAt = clock() + Number(/max-age=(\d+)/.exec(answer.headers.get('Cache-Control'))?.[1] ?? 60);
  }
}

/** The status of identities, through firebase-admin. An answer is used for 10 s, and for 15 minutes in an outage. */
class Identities {
  #known = new Map();

  async get(uid) {
    const before = this.#known.get(uid);
    const age = before ? clock() - before.at : Infinity;
    if (age < 10) return before.status;
    try {
      const status = await this.#lookUp(uid);
      this.#known.set(uid, { status, at: clock() });
      return status;
    } catch (error) {
      if (age < 900) return before.status;
      throw error;
    }
  }

  async #lookUp(uid) {
    try {
      const { disabled, tokensValidAfterTime, metadata } = await getAuth().getUser(uid);
      const [validSince, createdAt] = [tokensValidAfterTime, metadata.creationTime].map((time) => Date.parse(time) / 1000 || 0);
      return { disabled, validSince, createdAt };
    } catch (error) {
      if (error.code === 'auth/user-not-found') return null;
      throw error;
    }
  }
}

/** Nonces that need no store: a time, and its HMAC. */
const nonces = NONCE_SECRET && {
  issue: (now, time = Math.floor(now)) => `${time}.${createHmac('sha256', NONCE_SECRET).update(`${SERVICE} ${time}`).digest('base64url')}`,
  accepts(nonce, now) {
    const time = Number((nonce ?? '').split('.')[0]);
    const [given, expected] = [nonce ?? '', this.issue(time)].map((text) => Buffer.from(text));
    return given.length === expected.length && timingSafeEqual(given, expected) && now - time <= 300;
  },
};

initializeApp({ projectId: GOOGLE_CLOUD_PROJECT });
const [certificates, identities, spentIds] = [new Certificates(), new Identities(), new SpentIds(clock())];
const callee = new Callee({
  name: SERVICE,
  project: GOOGLE_CLOUD_PROJECT,
  baseUrl: BASE_URL,
  certificate: (kid) => certificates.get(kid),
  identity: (uid) => identities.get(uid),
  spentIds,
  nonces,
});

const ROUTES = {
  'GET /stock': {
    admits: { users: false, services: ['billing'], proof: REQUIRE_PROOF === 'true' },
    answer: (caller) => ({ stock: 7, ...caller }),
  },
};

function send(response, status, content, headers = {}) {
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers }).end(JSON.stringify(content));
}

createServer(async (request, response) => {
  const path = request.url.split('?')[0];
  if (path === '/readyz') return send(response, spentIds.mayHaveForgotten(Math.floor(clock())) ? 503 : 200, {});
  const route = ROUTES[`${request.method} ${path}`];
  if (!route) return send(response, 404, {});
  const lines = request.rawHeaders;
  const headers = lines.flatMap((name, index) => (index % 2 ? [] : [[name, lines[index + 1]]]));
  try {
    const caller = await callee.authorize({ method: request.method, path: request.url, headers }, route.admits);
    return send(response, 200, route.answer(caller), nonces ? { 'DPoP-Nonce': nonces.issue(clock()) } : {});
  } catch (error) {
    if (!(error instanceof Refusal)) {
      console.error(error);
      return send(response, 500, {});
    }
    const { code, status, message } = error;
    return send(response, status, { type: 'about:blank', title: code, status, code, detail: message }, error.headers(SERVICE));
  }
}).listen(Number(PORT), '127.0.0.1');
