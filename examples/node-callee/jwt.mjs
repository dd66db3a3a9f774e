// Reading a JWT so that it cannot be read in two ways: section 4 of docs/protocol.md.

const MAX_BYTES = 8192;
const MAX_DEPTH = 16;
const JSON_TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\]:,]|[^\s{}[\]:,"]+/g;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Return header, payload, signing input and signature of a JWT. Throw an Error if it is malformed. */
export function readJwt(token) {
  if (token.length > MAX_BYTES) throw new Error(`longer than ${MAX_BYTES} bytes`);
  const parts = token.split('.');
  if (parts.length !== 3 || !parts[0] || !parts[1]) throw new Error('not three parts');
  const [header, payload, signature] = parts.map(decoded);
  return {
    header: jsonObject(header),
    payload: jsonObject(payload),
    signed: Buffer.from(`${parts[0]}.${parts[1]}`),
    signature,
  };
}

function decoded(part) {
  const bytes = Buffer.from(part, 'base64url');
  // Encoding again finds other characters, padding, and unused bits that are not 0.
  if (bytes.toString('base64url') !== part) throw new Error('not canonical base64url');
  return bytes;
}

function jsonObject(bytes) {
  const text = utf8.decode(bytes);
  const value = JSON.parse(text);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('not a JSON object');
  checkMembersDepthAndNumbers(text);
  return value;
}

/** JSON.parse takes the last of two members with one name, any depth, and 1e400 for Infinity. */
function checkMembersDepthAndNumbers(text) {
  const open = []; // for each object or array that is open: the names of its members
  let previous;
  for (const [token] of text.matchAll(JSON_TOKEN)) {
    if (token === '{' || token === '[') {
      if (open.push(new Set()) > MAX_DEPTH) throw new Error('nested too deeply');
    } else if (token === '}' || token === ']') {
      open.pop();
    } else if (token === ':') {
      const name = JSON.parse(previous);
      if (open.at(-1).has(name)) throw new Error('a member twice');
      open.at(-1).add(name);
    } else if (/^-?\d/.test(token)) {
      const isTooLong = /^-?\d+$/.test(token) && token.length > 20;
      if (isTooLong || !Number.isFinite(Number(token))) throw new Error('a number out of range');
    }
    previous = token;
  }
}
