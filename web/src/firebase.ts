// The only module that uses Firebase's web SDK. It is loaded after the first paint.
import { deleteApp, initializeApp } from 'firebase/app';
import {
  browserLocalPersistence,
  connectAuthEmulator,
  indexedDBLocalPersistence,
  initializeAuth,
  onIdTokenChanged,
  signInWithEmailAndPassword,
  signOut,
  type User,
} from 'firebase/auth';

import type { Config } from './config';
import { ApiError } from './problems';

export interface Account {
  uid: string;
  email: string;
  name: string | null;
  isAdmin: boolean;
}

/** The session of this browser, which all its tabs share. */
export interface FirebaseSession {
  logIn(email: string, password: string): Promise<void>;
  /** Forget the session in this browser. */
  forget(): Promise<void>;
  /** Return an ID token, a new one if `renew` is true, or null if no one is logged in. */
  idToken(renew: boolean): Promise<string | null>;
  close(): Promise<void>;
}

/** Open the session that this browser has kept. `onAccount` hears who is logged in, and each change of it. */
export function openSession(config: Config, onAccount: (account: Account | null) => void): FirebaseSession {
  const app = initializeApp(config.firebase);
  const auth = initializeAuth(app, { persistence: [indexedDBLocalPersistence, browserLocalPersistence] });
  if (config.authEmulator) connectAuthEmulator(auth, config.authEmulator, { disableWarnings: true });
  async function tell(user: User | null): Promise<void> {
    const account = user && (await accountOf(user));
    if (auth.currentUser === user) onAccount(account);
  }
  onIdTokenChanged(auth, (user) => void tell(user));
  return {
    async logIn(email, password) {
      await ask(() => signInWithEmailAndPassword(auth, email, password));
    },
    async forget() {
      await signOut(auth);
    },
    async idToken(renew) {
      await auth.authStateReady();
      const user = auth.currentUser;
      return user && (await ask(() => user.getIdToken(renew)));
    },
    async close() {
      await deleteApp(app);
    },
  };
}

async function accountOf(user: User): Promise<Account> {
  const account = { uid: user.uid, email: user.email ?? '', name: user.displayName, isAdmin: false };
  try {
    const { claims } = await user.getIdTokenResult();
    return { ...account, isAdmin: claims['role'] === 'admin' };
  } catch {
    // Firebase does not answer. Whether this is an administrator is known with the next token.
    return account;
  }
}

/** What the SDK's errors mean, in the codes that User's API has for the same. Others mean that it does not answer. */
const CODES: Readonly<Record<string, string>> = {
  'auth/invalid-credential': 'credentials_invalid',
  'auth/invalid-login-credentials': 'credentials_invalid',
  'auth/wrong-password': 'credentials_invalid',
  'auth/user-not-found': 'credentials_invalid',
  'auth/user-disabled': 'credentials_invalid',
  'auth/invalid-email': 'credentials_invalid',
  'auth/missing-password': 'credentials_invalid',
  'auth/too-many-requests': 'too_many_attempts',
  'auth/user-token-expired': 'user_token_revoked',
  'auth/invalid-user-token': 'user_token_revoked',
  'auth/user-token-mismatch': 'user_token_revoked',
};

async function ask<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    const name = (error as { code?: unknown }).code;
    const code = typeof name === 'string' ? CODES[name] : undefined;
    throw code ? new ApiError('refused', 'auth', { code }) : new ApiError('down', 'auth');
  }
}
