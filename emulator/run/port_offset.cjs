"use strict";
// Node loads this file before firebase-tools (see stack.py). firebase-tools looks for a free port from 8081 on, starts the
// functions' Python on it, and asks that port which functions there are. Two emulators that start at the same time find
// the same port: then one of them asks the other's Python, or waits for an answer for ever. With an offset, as for all
// other ports of a shop, each looks from a port of its own on.

const FIRST_PORT = 8081;
const LAST_PORT = 9081;
const offset = Number(process.env.SHOP_PORT_OFFSET || 0);

try {
  const portfinder = require("portfinder");
  const getPortPromise = portfinder.getPortPromise;
  portfinder.getPortPromise = (options) => {
    const isShared = options && options.port >= FIRST_PORT && options.port <= LAST_PORT;
    return getPortPromise(isShared ? { ...options, port: options.port + offset } : options);
  };
} catch (error) {
  if (error.code !== "MODULE_NOT_FOUND") throw error; // Another version of firebase-tools starts as it always did.
}
