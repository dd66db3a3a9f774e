import { useState } from 'preact/hooks';

import { ask } from '../api';
import { Form, TextField } from '../components/fields';
import { Page } from '../components/page';
import { Action, Trouble } from '../components/parts';
import { forgetDraft, useDraft } from '../hooks';
import { ApiError, describe, fieldMessages, type FieldMessages } from '../problems';
import { navigate, pathTo } from '../router';
import { logIn } from '../session';

type SignUpField = 'name' | 'email' | 'password';

const MIN_PASSWORD = 8;
const MAX_PASSWORD = 128;

export function SignUp() {
  const [{ name, email }, change] = useDraft('sign-up', { name: '', email: '' });
  const [password, setPassword] = useState('');
  const [errors, setErrors] = useState<FieldMessages<SignUpField>>({});
  const [failure, setFailure] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);

  async function submit(): Promise<void> {
    if (busy) return;
    const found = check(email, password);
    setErrors(found);
    setFailure(null);
    if (Object.keys(found).length > 0) return;
    setBusy(true);
    let isCreated = false;
    try {
      await ask('user', (client) =>
        client.POST('/signup', {
          body: { email: email.trim(), password, ...(name.trim() ? { display_name: name.trim() } : {}) },
        }),
      );
      isCreated = true;
      forgetDraft('sign-up');
      await logIn(email.trim(), password);
    } catch (error) {
      setBusy(false);
      if (isCreated) {
        // The account is there, so the form would be answered with "email_taken".
        navigate(pathTo('login') + location.search, { replace: true });
        return;
      }
      const refused = fieldErrors(error);
      setErrors(refused);
      if (Object.keys(refused).length === 0) setFailure(error);
    }
  }

  return (
    <Page title="Create an account" class="narrow">
      <Form label="Create an account" errors={errors} onSubmit={() => void submit()} class="card stack">
        <TextField
          label="Name"
          name="name"
          autocomplete="name"
          optional
          maxLength={200}
          value={name}
          error={errors.name}
          onValue={(value) => {
            change({ name: value });
          }}
        />
        <TextField
          label="E-mail address"
          name="email"
          type="email"
          autocomplete="username"
          maxLength={254}
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
          autocomplete="new-password"
          maxLength={MAX_PASSWORD}
          hint="At least 8 characters. Three words that have nothing to do with each other are good."
          value={password}
          error={errors.password}
          onValue={setPassword}
        />
        {failure !== null && <Trouble error={failure} />}
        <Action type="submit" busy={busy} busyText="Creating your account…">
          Create the account
        </Action>
        <p class="small-text">
          You have an account? <a href={pathTo('login') + location.search}>Log in</a>
        </p>
      </Form>
    </Page>
  );
}

function check(email: string, password: string): FieldMessages<SignUpField> {
  const found: FieldMessages<SignUpField> = {};
  if (!/^\S+@\S+\.\S+$/.test(email.trim())) found.email = 'Enter an e-mail address, such as name@example.com.';
  if (password.length < MIN_PASSWORD) found.password = `Use at least ${MIN_PASSWORD} characters.`;
  return found;
}

/** Return what a refused sign-up says about each field. */
function fieldErrors(error: unknown): FieldMessages<SignUpField> {
  if (error instanceof ApiError && error.code === 'email_taken') return { email: describe(error) };
  if (error instanceof ApiError && error.code === 'account_refused') {
    return /e-mail/.test(error.detail ?? '') ? { email: describe(error) } : { password: describe(error) };
  }
  return fieldMessages(error, { display_name: 'name', email: 'email', password: 'password' });
}
