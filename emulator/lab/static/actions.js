// What the pages Attacks, Leaks and Faults share: sending a request for a button, putting an answer in place, and
// letting buttons take clicks.

/**
 * Send a POST for a button, which shows that it is busy meanwhile. Only pages of the lab may send it (security.py).
 *
 * @param {string} path
 * @param {HTMLButtonElement} [button]
 * @returns {Promise<{ ok: boolean, status: number, text: string }>} status 0 if the lab does not answer
 */
export async function send(path, button) {
  return request(path, 'POST', button);
}

/**
 * Get a part of the page.
 *
 * @param {string} path
 * @param {HTMLButtonElement} [button]
 */
export async function get(path, button) {
  return request(path, 'GET', button);
}

/**
 * @param {string} path
 * @param {string} method
 * @param {HTMLButtonElement | undefined} button
 */
async function request(path, method, button) {
  button?.setAttribute('aria-busy', 'true');
  try {
    const answer = await fetch(path, { method });
    return { ok: answer.ok, status: answer.status, text: await answer.text() };
  } catch {
    return { ok: false, status: 0, text: '' };
  } finally {
    button?.removeAttribute('aria-busy');
  }
}

/**
 * Put HTML of the lab into an element, and return the element. Its templates escape what they show.
 *
 * @param {Element} element
 * @param {string} html
 */
export function put(element, html) {
  element.innerHTML = html;
  return element;
}

/**
 * Show in an element that something failed, or nothing.
 *
 * @param {Element} element
 * @param {string} text
 */
export function fail(element, text) {
  element.replaceChildren();
  if (!text) return;
  const notice = document.createElement('p');
  notice.className = 'notice bad';
  notice.setAttribute('role', 'alert');
  notice.textContent = text;
  element.append(notice);
}

export const SILENT = 'The lab does not answer. Is "make run" still running?';

/**
 * Return an element of the page that must be there.
 *
 * @template {Element} T
 * @param {string} selector
 * @param {new () => T} kind
 * @param {ParentNode} [within]
 * @returns {T}
 */
export function find(selector, kind, within = document) {
  const found = within.querySelector(selector);
  if (!(found instanceof kind)) throw new Error(`${selector} is missing`);
  return found;
}

/**
 * Let the page's buttons and fields take clicks and text. Call it at the end of a page's script.
 *
 * The server sends the page before its script runs, so it sends everything disabled. A click in between would be lost.
 */
export function ready() {
  find('#parts', HTMLFieldSetElement).disabled = false;
}
