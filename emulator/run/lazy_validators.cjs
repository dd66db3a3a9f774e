"use strict";
// Node loads this file before firebase-tools (see stack.py). The Auth emulator checks requests with exegesis, which
// compiles a validator for each of several hundred parameters when it starts. That takes five seconds of processor
// time, and nearly none of them are ever used. With this option of exegesis each is compiled when it is first used.

try {
  const options = require("exegesis/lib/options");
  const compileOptions = options.compileOptions;
  options.compileOptions = (given) => compileOptions({ lazyCompileValidationSchemas: true, ...given });
} catch (error) {
  if (error.code !== "MODULE_NOT_FOUND") throw error; // Another version of firebase-tools starts as it always did.
}
