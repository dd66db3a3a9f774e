// What all pages share: a stream of server-sent events.

/**
 * Open a stream of events, and show whether it is open in the element with the id "live".
 *
 * @param {string} path
 * @param {Record<string, (data: any) => void>} handlers the names of events, and what to do with their data
 * @returns {EventSource}
 */
export function listen(path, handlers) {
  const source = new EventSource(path);
  for (const [name, handle] of Object.entries(handlers)) {
    source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
  }
  return source;
}
