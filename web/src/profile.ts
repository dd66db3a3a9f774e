import { ask, type Profile, type ProfileChanges } from './api';

export function loadProfile(signal: AbortSignal): Promise<Profile> {
  return ask('user', (client) => client.GET('/profile', { signal }));
}

export function changeProfile(changes: ProfileChanges): Promise<Profile> {
  return ask('user', (client) => client.PATCH('/profile', { body: changes }));
}
