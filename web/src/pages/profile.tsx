import { useState } from 'preact/hooks';

import { checkAddress, EMPTY_ADDRESS, toAddress, toDraft, type AddressDraft, type AddressField } from '../address';
import { announce } from '../announce';
import { ask, type Profile, type ProfileChanges } from '../api';
import { AddressFields } from '../components/address-fields';
import { Form, TextField } from '../components/fields';
import { Page } from '../components/page';
import { Action, Lines, LoadingText, Notice, Trouble } from '../components/parts';
import { forgetDraft, useDraft, useLoad } from '../hooks';
import { describe, fieldMessages, type FieldMessages } from '../problems';
import { changeProfile, loadProfile } from '../profile';
import { navigate, pathTo } from '../router';
import { forgetSession } from '../session';
import { addressErrors } from './order';

export function ProfilePage() {
  const { value, error, reload } = useLoad('', loadProfile);
  return (
    <Page title="Your profile" class="narrow">
      {error !== undefined && <Trouble error={error} again={reload} />}
      {value === undefined && error === undefined && (
        <div class="card stack">
          <LoadingText />
          <Lines count={8} class="tall" />
        </div>
      )}
      {value !== undefined && <ProfileForm key={value.uid} profile={value} />}
      <LogOut />
    </Page>
  );
}

type ProfileField = AddressField | 'display_name' | 'phone';

function ProfileForm({ profile }: { profile: Profile }) {
  const draftName = `profile.${profile.uid}`;
  const [draft, change] = useDraft(draftName, {
    ...toDraft(profile.address),
    display_name: profile.display_name ?? '',
    phone: profile.phone ?? '',
  });
  const [saved, setSaved] = useState(profile);
  const [errors, setErrors] = useState<FieldMessages<ProfileField>>({});
  const [failure, setFailure] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const [isSaved, setIsSaved] = useState(false);
  const set = (changes: Partial<typeof draft>) => {
    setIsSaved(false);
    change(changes);
  };

  async function submit(): Promise<void> {
    if (busy) return;
    const found = check(draft);
    setErrors(found);
    setFailure(null);
    if (Object.keys(found).length > 0) return;
    setBusy(true);
    try {
      setSaved(await changeProfile(changesOf(draft, saved)));
      forgetDraft(draftName);
      setIsSaved(true);
    } catch (reason) {
      setErrors({
        ...addressErrors(reason),
        ...fieldMessages(reason, { display_name: 'display_name', phone: 'phone' }),
      });
      setFailure(reason);
    } finally {
      setBusy(false);
    }
  }

  return (
    <Form label="Your profile" errors={errors} onSubmit={() => void submit()} class="card stack">
      <dl>
        <dt>E-mail address</dt>
        <dd>{profile.email ?? 'none'}</dd>
      </dl>
      <TextField
        label="Name"
        name="display_name"
        autocomplete="name"
        optional
        maxLength={200}
        value={draft.display_name}
        error={errors.display_name}
        onValue={(value) => {
          set({ display_name: value });
        }}
      />
      <TextField
        label="Phone number"
        name="phone"
        type="tel"
        autocomplete="tel"
        optional
        hint="With the country code, such as +1 503 555 0142."
        value={draft.phone}
        error={errors.phone}
        onValue={(value) => {
          set({ phone: value });
        }}
      />
      <h2>Address</h2>
      <AddressFields legend="Address" draft={draft} errors={errors} onChange={set} />
      {failure !== null && <Trouble error={failure} />}
      {isSaved && (
        <Notice kind="good">
          <p>Your profile is saved.</p>
        </Notice>
      )}
      <Action type="submit" busy={busy} busyText="Saving…">
        Save
      </Action>
    </Form>
  );
}

type Draft = AddressDraft & { display_name: string; phone: string };

function isAddressEmpty(draft: Draft): boolean {
  return Object.keys(EMPTY_ADDRESS).every((field) => field === 'country' || !draft[field as AddressField].trim());
}

/** Return a phone number without what people write between its digits. */
function plainPhone(text: string): string {
  return text.replace(/[\s()./-]/g, '');
}

function check(draft: Draft): FieldMessages<ProfileField> {
  const found: FieldMessages<ProfileField> = isAddressEmpty(draft) ? {} : checkAddress(draft);
  const phone = plainPhone(draft.phone);
  if (phone && !/^\+[1-9]\d{1,14}$/.test(phone)) {
    found.phone = 'Begin with + and the country code, and use digits only.';
  }
  return found;
}

/** Return the fields that differ from what is saved, so that another tab's changes stay. */
function changesOf(draft: Draft, saved: Profile): ProfileChanges {
  const changes: ProfileChanges = {};
  const name = draft.display_name.trim() || null;
  const phone = plainPhone(draft.phone) || null;
  const address = isAddressEmpty(draft) ? null : toAddress(draft);
  if (name !== saved.display_name) changes.display_name = name;
  if (phone !== saved.phone) changes.phone = phone;
  if (JSON.stringify(toDraft(address)) !== JSON.stringify(toDraft(saved.address))) changes.address = address;
  return changes;
}

function LogOut() {
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<unknown>(null);
  async function logOut(): Promise<void> {
    setBusy(true);
    setFailure(null);
    try {
      await ask('user', (client) => client.POST('/logout'));
      await leave();
    } catch (reason) {
      setFailure(reason);
      setBusy(false);
    }
  }
  async function leave(): Promise<void> {
    await forgetSession();
    navigate(pathTo('shop'));
    announce('You are logged out.');
  }
  return (
    <section class="card stack" aria-labelledby="log-out">
      <h2 id="log-out">Log out</h2>
      <p class="muted">This ends your session in every browser and on every device.</p>
      {failure !== null && (
        <Notice kind="bad">
          <p>{describe(failure)} You can leave this browser now; other devices stay logged in.</p>
          <button type="button" class="button secondary small" onClick={() => void leave()}>
            Log out of this browser only
          </button>
        </Notice>
      )}
      <div>
        <Action class="secondary" busy={busy} busyText="Logging out…" onClick={() => void logOut()}>
          Log out
        </Action>
      </div>
    </section>
  );
}
