// The normal form of a URL: section 6.1 of docs/protocol.md.

const FORM = /^(https?):\/\/([a-z0-9\-._~!$&'()*+,;=]+|\[[0-9a-f:.]+\])(?::(\d{0,9}))?((?:\/[!-~]*?)?)(?:[?#].*)?$/i;
const TO_ESCAPE = /%[0-9a-f]{2}|[^A-Za-z0-9\-._~!$&'()*+,;=:@/[\]]/gi;
const DEFAULT_PORTS = { http: '80', https: '443' };

/** Return the normal form of an http or https URL, or null if it has none. */
export function normalUrl(url) {
  const found = FORM.exec(url);
  if (!found) return null;
  const [scheme, host] = [found[1].toLowerCase(), found[2].toLowerCase()];
  const port = Number(found[3] || DEFAULT_PORTS[scheme]).toString();
  const path = found[4].replace(TO_ESCAPE, (text) => {
    const character = text.length === 1 ? text : String.fromCharCode(parseInt(text.slice(1), 16));
    if (text.length > 1 && /[A-Za-z0-9\-._~]/.test(character)) return character;
    return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;
  });
  return `${scheme}://${host}${port === DEFAULT_PORTS[scheme] ? '' : `:${port}`}${withoutDotSegments(path)}`;
}

/** Return whether a segment of a path is "." or "..", as it was sent or after one decoding. */
export function hasDotSegments(path) {
  return path.replace(/%2e/gi, '.').replace(/%2f/gi, '/').split('/').some(isDots);
}

function isDots(segment) {
  return segment === '.' || segment === '..';
}

function withoutDotSegments(path) {
  const segments = [];
  for (const segment of path.split('/').slice(1)) {
    if (segment === '..') segments.pop();
    else if (segment !== '.') segments.push(segment);
  }
  if (/\/\.\.?$/.test(path)) segments.push('');
  return `/${segments.join('/')}`;
}
