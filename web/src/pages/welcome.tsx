import { useEffect, useState } from 'preact/hooks';

import { notePage, SHOP_NAME } from '../components/page';
import { Trouble } from '../components/parts';
import { Picture } from '../components/picture';
import { config as loadedConfig, logIn, session } from '../session';
import { pathTo } from '../router';
import type { DemoLogin } from '../config';

const SHOWN = [
  'Pour-over kettle',
  'Desk lamp',
  'Terracotta pot',
  'Fountain pen',
  'Glass teapot',
  'Wool blanket',
  'Day pack',
  'Chess set',
  'Enamel mug',
];

/** What visitors see who are not logged in. */
export function Welcome() {
  useEffect(() => {
    notePage(SHOP_NAME);
  }, []);
  return (
    <div class="page welcome">
      <div class="stack">
        <h1 tabIndex={-1}>Useful things, made to last.</h1>
        <p class="lead">
          A small shop for the kitchen, the desk, the home and the outdoors. Create an account to look around; it takes
          half a minute.
        </p>
        <div class="row">
          <a class="button" href={pathTo('signup')}>
            Create an account
          </a>
          <a class="button secondary" href={pathTo('login')}>
            Log in
          </a>
        </div>
        <DemoLogins />
      </div>
      <div class="welcome-pictures" aria-hidden="true">
        {SHOWN.map((name, index) => (
          <Picture key={name} product={{ id: String(index), name }} decorative />
        ))}
      </div>
    </div>
  );
}

/** The demo users of a shop with the Auth emulator, to try the shop with one click. */
export function DemoLogins() {
  const [logins, setLogins] = useState<readonly DemoLogin[]>([]);
  const [busy, setBusy] = useState('');
  const [error, setError] = useState<unknown>(null);
  const isStarted = session.value.state !== 'starting';
  useEffect(() => {
    if (!isStarted) return;
    loadedConfig().then(
      (config) => {
        // Customers first: a visitor comes to look around.
        setLogins([...config.demoLogins].sort((a, b) => Number(b.role === 'customer') - Number(a.role === 'customer')));
      },
      () => {
        // The page says that the shop did not start.
      },
    );
  }, [isStarted]);
  async function logInAs(login: DemoLogin): Promise<void> {
    setBusy(login.email);
    setError(null);
    try {
      await logIn(login.email, login.password);
    } catch (reason) {
      setError(reason);
      setBusy('');
    }
  }
  return (
    <section class="demo-logins" aria-label="Demo accounts">
      {logins.length > 0 && (
        <>
          <p class="muted small-text">This shop runs on your machine. Try it with a demo account:</p>
          <div class="row">
            {logins.map((login) => (
              <button
                key={login.email}
                type="button"
                class="button secondary small"
                aria-busy={busy === login.email}
                onClick={() => {
                  if (!busy) void logInAs(login);
                }}
              >
                {busy === login.email && <span class="spinner" aria-hidden="true" />}
                {login.name} ({login.role})
              </button>
            ))}
          </div>
        </>
      )}
      {error !== null && <Trouble error={error} />}
    </section>
  );
}
