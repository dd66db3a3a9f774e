import { useState } from 'preact/hooks';

import { Form, TextField } from '../components/fields';
import { Page } from '../components/page';
import { Action, Notice, Trouble } from '../components/parts';
import { forgetDraft, useDraft } from '../hooks';
import type { FieldMessages } from '../problems';
import { pathTo } from '../router';
import { logIn, session } from '../session';
import { DemoLogins } from './welcome';

export function LogIn() {
  const [{ email }, change] = useDraft('log-in', { email: '' });
  const [password, setPassword] = useState('');
  const [errors, setErrors] = useState<FieldMessages<'email' | 'password'>>({});
  const [failure, setFailure] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  async function submit(): Promise<void> {
    if (busy) return;
    const found: typeof errors = {};
    if (!email.trim()) found.email = 'Enter your e-mail address.';
    if (!password) found.password = 'Enter your password.';
    setErrors(found);
    setFailure(null);
    if (Object.keys(found).length > 0) return;
    setBusy(true);
    try {
      await logIn(email.trim(), password);
      forgetDraft('log-in');
    } catch (reason) {
      setFailure(reason);
      setBusy(false);
    }
  }
  return (
    <Page title="Log in" class="narrow">
      {session.value.state === 'ended' && (
        <Notice kind="info">
          <p>Your session has ended. Log in again to go on; your basket is still here.</p>
        </Notice>
      )}
      <Form label="Log in" errors={errors} onSubmit={() => void submit()} class="card stack">
        <TextField
          label="E-mail address"
          name="email"
          type="email"
          autocomplete="username"
          value={email}
          error={errors.email}
          onValue={(value) => {
            change({ email: value });
          }}
        />
        <TextField
          label="Password"
          name="password"
          type="password"
          autocomplete="current-password"
          value={password}
          error={errors.password}
          onValue={setPassword}
        />
        {failure !== null && <Trouble error={failure} />}
        <Action type="submit" busy={busy} busyText="Logging in…">
          Log in
        </Action>
        <p class="small-text">
          New here? <a href={pathTo('signup') + location.search}>Create an account</a>
        </p>
      </Form>
      <DemoLogins />
    </Page>
  );
}
