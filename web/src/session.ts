import { effect, signal, type ReadonlySignal } from '@preact/signals';

import { loadConfig, type Config } from './config';
import type { Account, FirebaseSession } from './firebase';
import { browserStore } from './storage';

/**
 * Who is logged in.
 *
 * "starting" until the SDK has said so; `likely` is what this browser remembers. "ended" is "out" after the session was
 * ended elsewhere. "failed" means that the storefront cannot start.
 */
export type SessionState =
  | { state: 'starting'; likely: 'in' | 'out' }
  | { state: 'out' }
  | { state: 'ended' }
  | { state: 'failed'; error: unknown }
  | ({ state: 'in' } & Account);

const HINT = 'shop.session';

function starting(): SessionState {
  return { state: 'starting', likely: browserStore.read(HINT) === 'in' ? 'in' : 'out' };
}

const current = signal<SessionState>(starting());

export const session: ReadonlySignal<SessionState> = current;

let started: Promise<{ config: Config; firebase: FirebaseSession }> | null = null;

async function start() {
  const [config, { openSession }] = await Promise.all([loadConfig(), import('./firebase')]);
  const firebase = openSession(config, (account) => {
    if (account) {
      current.value = { state: 'in', ...account };
    } else if (current.value.state !== 'ended') {
      // A session that this browser remembers, and Firebase no longer accepts, was ended elsewhere.
      const wasIn = current.value.state === 'starting' && current.value.likely === 'in';
      current.value = { state: wasIn ? 'ended' : 'out' };
    }
  });
  return { config, firebase };
}

/** Load the configuration and the SDK. What they are needed for waits for them. */
export async function startSession(): Promise<void> {
  current.value = starting();
  started = start();
  try {
    await started;
  } catch (error) {
    current.value = { state: 'failed', error };
  }
}

/** Return the configuration, when it is there. */
export async function config(): Promise<Config> {
  return (await opened()).config;
}

function opened() {
  if (!started) throw new Error('startSession was not called.');
  return started;
}

/** Return an ID token of who is logged in, or null. Throws ApiError. */
export async function idToken(renew = false): Promise<string | null> {
  return (await opened()).firebase.idToken(renew);
}

/** Log in. Throws ApiError. */
export async function logIn(email: string, password: string): Promise<void> {
  await (await opened()).firebase.logIn(email, password);
  await settled((state) => state.state === 'in');
}

/** Forget the session in this browser. With `ended`, tell the user that it was ended elsewhere. */
export async function forgetSession({ ended = false } = {}): Promise<void> {
  if (ended) current.value = { state: 'ended' };
  await (await opened()).firebase.forget();
  if (!ended) current.value = { state: 'out' };
}

/** Wait until the state is as expected. */
function settled(expected: (state: SessionState) => boolean): Promise<void> {
  return new Promise((resolve) => {
    const stop = effect(() => {
      if (!expected(current.value)) return;
      resolve();
      queueMicrotask(() => {
        stop();
      });
    });
  });
}

// What the next page load begins with, before the SDK is there.
effect(() => {
  const { state } = current.value;
  if (state === 'in') browserStore.write(HINT, 'in');
  if (state === 'out' || state === 'ended') browserStore.write(HINT, null);
});
