// The checks of a callee, in the order of docs/protocol.md. The numbers of sections are those of that page.

import { createHash, createPublicKey, verify } from 'node:crypto';
import { readJwt } from './jwt.mjs';
import { hasDotSegments, normalUrl } from './url.mjs';

const SKEW_SECONDS = 5;
const SERVICE_NAME = /^[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const ERRORS = { proof_invalid: 'invalid_dpop_proof', proof_replayed: 'invalid_dpop_proof', use_dpop_nonce: 'use_dpop_nonce' };
const STATUS = { caller_not_allowed: 403, verifier_unavailable: 503 };

/** A refusal of section 9. `detail` is for people. */
export class Refusal extends Error {
  constructor(code, detail = code, { nonce, usersToo = false } = {}) {
    super(detail);
    Object.assign(this, { code, nonce, usersToo, status: STATUS[code] ?? 401 });
  }

  /** Return the header fields of the answer of the service `realm`. */
  headers(realm) {
    const fields = { 'Content-Type': 'application/problem+json', 'Cache-Control': 'no-store' };
    if (this.nonce) fields['DPoP-Nonce'] = this.nonce;
    if (this.status === 503) fields['Retry-After'] = '1';
    if (this.status === 401) fields['WWW-Authenticate'] = this.#challenge(realm);
    return fields;
  }

  #challenge(realm) {
    if (/proof|nonce/.test(this.code)) {
      const error = ERRORS[this.code] ? `, error="${ERRORS[this.code]}"` : '';
      return `DPoP realm="${realm}"${error}, algs="ES256"`;
    }
    if (this.code.startsWith('user_')) {
      const error = this.code === 'user_token_missing' ? '' : ', error="invalid_token", error_description="The user\'s token is not accepted"';
      return `Bearer realm="${realm}"${error}`;
    }
    const error = this.code === 'token_missing' ? '' : `, error="${this.code}"`;
    return `MsToken realm="${realm}"${error}${this.usersToo ? `, Bearer realm="${realm}"` : ''}`;
  }
}

export class Callee {
  /**
   * `certificate(kid)` resolves to a certificate in PEM or to undefined, and `identity(uid)` to
   * `{disabled, validSince, createdAt}` or to null. Both throw if the answer is not known now. `spentIds` is a
   * `SpentIds` or has the same methods. `nonces` has `accepts(nonce, now)` and `issue(now)`, or is null.
   */
  constructor({ name, project, baseUrl, certificate, identity, spentIds, nonces = null, clock = () => Date.now() / 1000 }) {
    Object.assign(this, { name, project, baseUrl, certificate, identity, spentIds, nonces, clock });
  }

  /** Return the caller of a request, or throw a Refusal. `headers` is a list of lines, [name, value]. */
  async authorize({ method, path, headers }, admits) {
    const lines = (name) =>
      headers.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value.replace(/^[ \t]+|[ \t]+$/g, ''));
    const [tokens, proofs, authorizations] = ['x-ms-token', 'dpop', 'authorization'].map(lines);
    if (tokens.length === 0) return this.#user(authorizations, admits);
    if (tokens.length > 1) throw new Refusal('token_malformed', 'There is more than one X-MS-TOKEN line.');
    const claims = await this.#idToken(tokens[0]);
    const ms = serviceClaims(claims);
    if (ms.aud !== this.name) throw new Refusal('token_wrong_audience', `The token is for ${ms.aud}.`);
    if (!(await this.#isAlive(claims, ms))) throw new Refusal('identity_disabled');
    this.#checkAge(claims, ms);
    const isBound = ms.jkt !== undefined;
    if (!isBound && proofs.length > 0) throw new Refusal('proof_invalid', 'The token is not bound to a key.');
    if (!isBound && admits.proof) throw new Refusal('proof_missing');
    const proof = isBound ? this.#proof(proofs, { method, path, token: tokens[0], jkt: ms.jkt }) : null;
    const actsForUser = admits.acting_for_user && authorizations.length > 0;
    const user = actsForUser ? await this.#userClaims(authorizations) : null;
    if (!admits.services.includes(ms.svc)) throw new Refusal('caller_not_allowed');
    await this.#spend(proof ? { id: `${ms.jkt}.${proof.jti}`, issuedAt: proof.iat } : { id: ms.jti, issuedAt: ms.iat }, isBound);
    return { caller: claims.sub, mode: isBound ? 'proof' : 'fresh', ...(user && { user: user.sub }) };
  }

  async #user(authorizations, admits) {
    // A route for services only does not look at Authorization, which can belong to others (section 12).
    if (authorizations.length === 0 || !admits.users) {
      throw new Refusal(admits.services.length ? 'token_missing' : 'user_token_missing', undefined, { usersToo: !!admits.users });
    }
    const claims = await this.#userClaims(authorizations);
    const isAdmitted = Array.isArray(admits.users) ? admits.users.includes(claims.role) : admits.users;
    if (!isAdmitted) throw new Refusal('caller_not_allowed');
    return { caller: `user:${claims.sub}` };
  }

  /** Section 12. */
  async #userClaims(authorizations) {
    const [scheme, token] = authorizations[0].split(/ +/);
    if (authorizations.length > 1 || scheme.toLowerCase() !== 'bearer') throw new Refusal('user_token_invalid');
    const claims = await this.#idToken(token ?? '').catch((error) => {
      throw error.status === 401 ? new Refusal('user_token_invalid', error.message) : error;
    });
    if ('ms' in claims || claims.sub.startsWith('svc:')) throw new Refusal('user_token_invalid', 'It is a service token.');
    if (!(await this.#isAlive(claims))) throw new Refusal('user_token_revoked');
    return claims;
  }

  /** Section 7, checks 1 and 2. */
  async #idToken(token) {
    const { header, payload, signed, signature } = read(token, 'token_malformed');
    const check = (holds, what) => {
      if (!holds) throw new Refusal('token_untrusted', what);
    };
    check(header.alg === 'RS256' && (header.typ ?? 'JWT') === 'JWT' && !('crit' in header), 'header');
    check(header.typ !== null && typeof header.kid === 'string' && header.kid && header.kid.length <= 128, 'kid');
    check([payload.exp, payload.iat, payload.auth_time].every(isTime), 'exp, iat, auth_time');
    const certificate = await known(this.certificate(header.kid));
    check(certificate && verify('RSA-SHA256', signed, certificate, signature), 'signature');
    check(payload.aud === this.project && payload.iss === `https://securetoken.google.com/${this.project}`, 'aud, iss');
    check(typeof payload.sub === 'string' && payload.sub && payload.sub.length <= 128, 'sub');
    const now = this.clock();
    if (payload.exp <= now - SKEW_SECONDS) throw new Refusal('token_expired');
    check(payload.iat <= now + SKEW_SECONDS && payload.auth_time <= payload.iat, 'iat');
    check(payload.exp - payload.iat <= 3600, 'lifetime');
    check(isObject(payload.firebase) && !('tenant' in payload.firebase), 'firebase');
    return payload;
  }

  /** Section 7, check 5. */
  async #isAlive({ sub, auth_time: authTime }, ms) {
    const found = await known(this.identity(sub));
    if (!found || found.disabled || authTime < found.validSince) return false;
    const wasRevoked = found.validSince > found.createdAt + 1;
    return !ms || !wasRevoked || Math.min(authTime, ms.iat) > found.validSince;
  }

  /** Section 7, check 6. */
  #checkAge({ auth_time: authTime }, ms) {
    const now = this.clock();
    if (ms.iat > now + SKEW_SECONDS) throw new Refusal('token_untrusted', 'It was minted in the future.');
    const age = Math.floor(now) - Math.min(ms.iat, authTime);
    if (ms.jkt === undefined && age > 60) throw new Refusal('token_stale', `The token is ${age} s old.`);
    if (ms.jkt !== undefined && age > 3600 + SKEW_SECONDS) throw new Refusal('token_expired', `The token is ${age} s old.`);
  }

  /** Section 6.2: the twelve checks of RFC 9449, section 4.3. */
  #proof(proofs, { method, path, token, jkt }) {
    const check = (holds, what) => {
      if (!holds) throw new Refusal('proof_invalid', `The proof is not valid: ${what}.`);
    };
    if (proofs.length === 0) throw new Refusal('proof_missing');
    check(proofs.length === 1, 'there is more than one');
    check(!hasDotSegments(path), 'the path has dot segments');
    const { header, payload, signed, signature } = read(proofs[0], 'proof_invalid');
    check(header.typ === 'dpop+jwt' && header.alg === 'ES256' && !('crit' in header), 'typ, alg or crit');
    const { jti, htm, htu, ath, iat, nonce } = payload;
    check([jti, htm, htu, ath].every((text) => typeof text === 'string' && /^[\0-\x7f]*$/.test(text)), 'a claim is missing');
    check(jti.length >= 1 && jti.length <= 128, 'jti');
    check(typeof iat === 'number' && iat >= 0 && iat <= 2 ** 53, 'iat');
    check(nonce === undefined || nonce === null || typeof nonce === 'string', 'nonce');
    const key = publicKey(header.jwk, check);
    check(ath === sha256(token), 'ath');
    check(htm === method, 'htm');
    check(normalUrl(htu) !== null && normalUrl(htu) === normalUrl(this.baseUrl + path.split('?')[0]), 'htu');
    const now = this.clock();
    check(now - iat <= 30 && iat - now <= SKEW_SECONDS, 'its age');
    check(thumbprint(header.jwk) === jkt, 'it is of another key');
    check(verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, signature), 'signature');
    if (this.nonces && !this.nonces.accepts(nonce, now)) {
      throw new Refusal('use_dpop_nonce', undefined, { nonce: this.nonces.issue(now) });
    }
    return payload;
  }

  /** Section 8. */
  async #spend({ id, issuedAt }, isBound) {
    const now = this.clock();
    if (this.spentIds.mayHaveForgotten(issuedAt)) {
      const newTokensCount = !this.spentIds.mayHaveForgotten(Math.floor(now));
      throw new Refusal(!isBound && newTokensCount ? 'token_stale' : 'verifier_unavailable');
    }
    const isFirst = await known(this.spentIds.spend(id, isBound ? 41 : 71, now));
    if (!isFirst) throw new Refusal(isBound ? 'proof_replayed' : 'token_replayed');
  }
}

/** Spent ids in the memory of one process. Its memory begins at `since`. */
export class SpentIds {
  #until = new Map();

  constructor(since) {
    this.since = since;
  }

  /** Return whether an id that was issued then may have been spent before this memory began. */
  mayHaveForgotten(issuedAt) {
    return issuedAt <= this.since + SKEW_SECONDS;
  }

  /** Return whether this is the first use of an id. */
  async spend(id, keepSeconds, now) {
    // Ids are deleted in the order in which they were spent, so none is deleted too early.
    for (const [old, until] of this.#until) {
      if (until > now) break;
      this.#until.delete(old);
    }
    if (this.#until.has(id)) return false;
    this.#until.set(id, now + keepSeconds);
    return true;
  }
}

/** Section 7, check 3. */
function serviceClaims({ firebase, ms, sub }) {
  const check = (holds, what) => {
    if (!holds) throw new Refusal('token_not_service', what);
  };
  check(firebase.sign_in_provider === 'custom' && isObject(ms), 'It is not a service token.');
  const { v, svc, aud, iat, ...rest } = ms;
  check(v === 1, 'The version is not known.');
  check([svc, aud].every((name) => typeof name === 'string' && SERVICE_NAME.test(name)), 'svc or aud is not a name.');
  check(isTime(iat) && sub === `svc:${svc}`, 'iat or sub is wrong.');
  const [[name, value], ...more] = [...Object.entries(rest), ['', '']];
  const form = { jti: /^[\w-]{22}$/, jkt: /^[\w-]{43}$/ }[name];
  check(more.length === 1 && form && typeof value === 'string' && form.test(value), 'It needs either jti or jkt.');
  return ms;
}

function read(token, code) {
  try {
    return readJwt(token);
  } catch (error) {
    throw new Refusal(code, `It is malformed: ${error.message}.`);
  }
}

async function known(answer) {
  try {
    return await answer;
  } catch {
    throw new Refusal('verifier_unavailable');
  }
}

function publicKey(jwk, check) {
  check(isObject(jwk) && jwk.kty === 'EC' && jwk.crv === 'P-256', 'jwk is not a P-256 key');
  check(!['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'].some((name) => name in jwk), 'jwk is a private key');
  check((jwk.alg ?? 'ES256') === 'ES256' && (jwk.use ?? 'sig') === 'sig', 'jwk is not for ES256');
  check(!('key_ops' in jwk) || (Array.isArray(jwk.key_ops) && jwk.key_ops.includes('verify')), 'jwk is not for verifying');
  const { x, y } = jwk;
  check([x, y].every((text) => typeof text === 'string' && /^[\w-]{43}$/.test(text) && isCanonical(text)), 'a coordinate');
  try {
    return createPublicKey({ key: { kty: 'EC', crv: 'P-256', x, y }, format: 'jwk' });
  } catch {
    return check(false, 'jwk is not on the curve');
  }
}

export function thumbprint({ crv, kty, x, y }) {
  return sha256(JSON.stringify({ crv, kty, x, y }));
}

function sha256(text) {
  return createHash('sha256').update(text).digest('base64url');
}

function isCanonical(text) {
  return Buffer.from(text, 'base64url').toString('base64url') === text;
}

function isTime(value) {
  return Number.isInteger(value) && value >= 0;
}

function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
