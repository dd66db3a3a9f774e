// What all pages share: a stream of server-sent events, and a sign that shows whether it is open.

/**
 * Open a stream of events. The element with the id "live" shows whether it is open.
 *
 * The browser opens the stream again when the connection breaks. The page is loaded again then, because it has missed
 * what happened in between.
 *
 * @param {string} path
 * @param {Record<string, (data: any) => void>} handlers what to do with the data of events, by the names of the events
 * @returns {EventSource}
 */
export function listen(path, handlers) {
  const source = new EventSource(path);
  let hasBroken = false;
  source.addEventListener('open', () => {
    if (hasBroken) location.reload();
    show('open', 'Live');
  });
  source.addEventListener('error', () => {
    hasBroken = true;
    show('broken', 'The lab does not answer. Is the shop still running?');
  });
  for (const [name, handle] of Object.entries(handlers)) {
    source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
  }
  // A page that is left must not keep a connection: browsers allow six to a server.
  window.addEventListener('pagehide', () => source.close());
  window.addEventListener('pageshow', (event) => {
    if (event.persisted) location.reload();
  });
  return source;
}

/**
 * @param {string} state
 * @param {string} text
 */
function show(state, text) {
  const sign = document.getElementById('live');
  if (!sign) return;
  sign.dataset.state = state;
  sign.textContent = text;
}

/**
 * Return the element with an id. A page that lacks it is a defect.
 *
 * @param {string} id
 * @returns {HTMLElement}
 */
export function element(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The page has no element with the id ${id}.`);
  return found;
}
