import { readFile } from 'node:fs/promises';

import { describe as group, expect, test } from 'vitest';

import { ApiError, describe, errorOf, fieldMessages, inWords, MESSAGES } from '../src/problems';

/** What the storefront never meets: only other services and functions make the calls that it is an answer to. */
const NOT_FOR_CUSTOMERS = ['refresh_token_invalid', 'user_not_found', 'reservation_'];

/** Return the codes that the documents of the services name in the calls of customers and administrators. */
async function documentedCodes(): Promise<string[]> {
  const codes = new Set<string>();
  for (const service of ['user', 'product', 'billing']) {
    const text = await readFile(new URL(`../../services/${service}/openapi.json`, import.meta.url), 'utf8');
    const document = JSON.parse(text) as { paths: Record<string, Record<string, Operation>> };
    for (const operation of Object.values(document.paths).flatMap((path) => Object.values(path))) {
      if (operation.tags?.includes('for services')) continue;
      for (const { description } of Object.values(operation.responses)) {
        for (const [, code] of description.matchAll(/\(`([a-z_]+)`\)/g)) codes.add(code ?? '');
      }
    }
  }
  return [...codes].filter((code) => !NOT_FOR_CUSTOMERS.some((start) => code.startsWith(start)));
}

interface Operation {
  tags?: string[];
  responses: Record<string, { description: string }>;
}

group('describe', () => {
  test('every code that a service documents for the calls of customers has words', async () => {
    const codes = await documentedCodes();
    expect(codes.length).toBeGreaterThan(20);
    expect(codes.filter((code) => !(code in MESSAGES))).toEqual([]);
  });

  test('a service that is down is named', () => {
    expect(describe(new ApiError('down', 'product'))).toBe(
      'The catalogue does not answer. It may be back in a moment.',
    );
    expect(describe(new ApiError('refused', 'user', { code: 'database_unavailable' }))).toMatch(/^The account service/);
  });

  test('a device without a network is not the fault of the service', () => {
    expect(describe(new ApiError('down', 'product'), false)).toMatch(/^You are offline/);
  });

  test('what the service says about a refused password is shown', () => {
    const error = errorOf('user', 422, { code: 'account_refused', title: 'No', detail: 'Choose a longer one.' }, null);
    expect(describe(error)).toBe('Choose a longer one.');
  });

  test('too many attempts say how long to wait', () => {
    const error = errorOf('user', 429, { code: 'too_many_attempts', title: 'Wait' }, '120');
    expect(describe(error)).toBe('There were too many attempts. Try again in 2 minutes.');
  });

  test('a code that is new has the title of the service', () => {
    expect(describe(errorOf('user', 418, { code: 'teapot', title: 'I am a teapot' }, null))).toBe('I am a teapot');
  });

  test('an error of our own shows nothing of its inside', () => {
    expect(describe(new TypeError('x is undefined'))).toBe('Something in this page is broken. Please reload it.');
  });
});

group('errorOf', () => {
  test('a problem is read with its code, detail, fields and pause', () => {
    const errors = [{ in: 'body', field: 'email', message: 'value is not a valid email address' }, { in: 'body' }];
    const error = errorOf('user', 422, { code: 'request_invalid', title: 'T', detail: 'D', errors }, '3');
    expect(error).toMatchObject({ kind: 'refused', status: 422, code: 'request_invalid', detail: 'D' });
    expect(error.fields).toEqual([errors[0]]);
    expect(error.retryAfterSeconds).toBe(3);
  });

  test.each([502, 503, 504, 500])('a %i of a server in between means that the service is down', (status) => {
    expect(errorOf('billing', status, '<html>', null).kind).toBe('down');
  });

  test('another answer without a code cannot be read', () => {
    expect(errorOf('billing', 404, undefined, null).kind).toBe('broken');
  });

  test.each(['Wed, 21 Oct 2026 07:28:00 GMT', '-1', '1.5', '', '999999'])('a Retry-After of %j is ignored', (value) => {
    expect(errorOf('user', 503, { code: 'overloaded' }, value).retryAfterSeconds).toBeNull();
  });
});

group('fieldMessages', () => {
  const errors = [
    { in: 'body', field: 'price.amount', message: 'Input should be less than or equal to 100000000' },
    { in: 'body', field: 'name', message: 'String should have at least 1 character' },
    { in: 'body', field: 'name', message: 'String should match pattern' },
    { in: 'body', field: 'other', message: 'Extra inputs are not permitted' },
  ];
  const error = errorOf('product', 422, { code: 'request_invalid', title: 'T', errors }, null);

  test('each field of the form has its first message, in words', () => {
    expect(fieldMessages(error, { 'price.amount': 'price', name: 'name' })).toEqual({
      price: 'This was not accepted: Input should be less than or equal to 100000000.',
      name: 'This must not be empty.',
    });
  });

  test('another error has none', () => {
    expect(fieldMessages(new TypeError('no'), { name: 'name' })).toEqual({});
  });
});

test.each([
  [1, '1 second'],
  [45, '45 seconds'],
  [90, '2 minutes'],
  [900, '15 minutes'],
])('%i seconds are %s', (seconds, words) => {
  expect(inWords(seconds)).toBe(words);
});
