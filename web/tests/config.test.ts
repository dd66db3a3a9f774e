import { readFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { ConfigError, parseConfig } from '../src/config';

const production = {
  apis: { user: '/api/user', product: '/api/product', billing: '/api/billing' },
  firebase: { apiKey: 'key', authDomain: 'shop.firebaseapp.com', projectId: 'shop' },
  authEmulator: null,
};
const login = { name: 'Maya', role: 'customer', email: 'maya@example.com', password: 'secret' };

test('the configuration that is checked in is valid', async () => {
  const text = await readFile(new URL('../public/config.json', import.meta.url), 'utf8');
  expect(parseConfig(JSON.parse(text)).authEmulator).toBeNull();
});

test('without demo logins there are none', () => {
  expect(parseConfig(production)).toEqual({ ...production, demoLogins: [] });
});

test('a shop with the emulator may name demo logins', () => {
  const local = { ...production, authEmulator: 'http://127.0.0.1:9100', demoLogins: [login] };
  expect(parseConfig(local).demoLogins).toEqual([login]);
});

test('a slash at the end of an address is left out', () => {
  const apis = { ...production.apis, user: 'http://127.0.0.1:8001/' };
  expect(parseConfig({ ...production, apis }).apis.user).toBe('http://127.0.0.1:8001');
});

test.each([
  ['a list', [], /^The file must be an object/],
  ['null', null, /^The file must be an object/],
  ['no services', { ...production, apis: undefined }, /^apis must be an object/],
  ['a missing service', { ...production, apis: { ...production.apis, billing: undefined } }, /^apis\.billing/],
  ['a script as address', { ...production, apis: { ...production.apis, user: 'javascript:x' } }, /^apis\.user/],
  ['another host as path', { ...production, apis: { ...production.apis, user: '//evil.example' } }, /^apis\.user/],
  ['an empty API key', { ...production, firebase: { ...production.firebase, apiKey: '' } }, /^firebase\.apiKey/],
  ['an emulator that is no URL', { ...production, authEmulator: '127.0.0.1:9100' }, /^authEmulator/],
  ['demo logins in production', { ...production, demoLogins: [login] }, /^demoLogins are allowed/],
  [
    'a demo login without a password',
    { ...production, authEmulator: 'http://a', demoLogins: [{ ...login, password: 1 }] },
    /^demoLogins\[0\]\.password/,
  ],
])('%s is refused by the name of the field', (_, value, message) => {
  expect(() => parseConfig(value)).toThrow(ConfigError);
  expect(() => parseConfig(value)).toThrow(message);
});
