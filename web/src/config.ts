/** The services that the storefront calls. */
export type Service = 'user' | 'product' | 'billing';

/** A login to try the shop with. Only a shop with the Auth emulator has some. */
export interface DemoLogin {
  name: string;
  role: string;
  email: string;
  password: string;
}

/** What /config.json says: where the services are, and which Firebase project the shop uses. */
export interface Config {
  apis: Record<Service, string>;
  firebase: { apiKey: string; authDomain: string; projectId: string };
  /** The URL of the Auth emulator, or null in production. */
  authEmulator: string | null;
  demoLogins: DemoLogin[];
}

/** /config.json cannot be used. The message says which field is wrong. */
export class ConfigError extends Error {}

type Fields = Record<string, unknown>;

/** Return the configuration in a parsed config.json. Throws ConfigError. */
export function parseConfig(value: unknown): Config {
  const root = fields(value, 'The file');
  const apis = fields(root['apis'], 'apis');
  const firebase = fields(root['firebase'], 'firebase');
  const emulator = root['authEmulator'] ?? null;
  if (emulator !== null && !isHttpUrl(emulator)) {
    throw new ConfigError('authEmulator must be an http URL, or null in production.');
  }
  return {
    apis: { user: api(apis, 'user'), product: api(apis, 'product'), billing: api(apis, 'billing') },
    firebase: {
      apiKey: text(firebase, 'firebase', 'apiKey'),
      authDomain: text(firebase, 'firebase', 'authDomain'),
      projectId: text(firebase, 'firebase', 'projectId'),
    },
    authEmulator: emulator,
    demoLogins: demoLogins(root['demoLogins'] ?? [], emulator),
  };
}

/** Load /config.json. Throws ConfigError, or TypeError if there is no answer. */
export async function loadConfig(): Promise<Config> {
  const answer = await fetch('/config.json', { cache: 'no-cache' });
  if (!answer.ok) throw new ConfigError(`/config.json was answered with status ${answer.status}.`);
  let value: unknown;
  try {
    value = await answer.json();
  } catch {
    throw new ConfigError('/config.json is not JSON.');
  }
  return parseConfig(value);
}

function fields(value: unknown, name: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ConfigError(`${name} must be an object.`);
  }
  return value as Fields;
}

function text(from: Fields, parent: string, name: string): string {
  const value = from[name];
  if (typeof value !== 'string' || value === '') throw new ConfigError(`${parent}.${name} must be a text.`);
  return value;
}

/** Return the address of a service without a slash at its end: a path of this site, or an http(s) URL. */
function api(apis: Fields, name: Service): string {
  const value = text(apis, 'apis', name);
  if (!/^\/(?!\/)/.test(value) && !isHttpUrl(value)) {
    throw new ConfigError(`apis.${name} must be a path that begins with one slash, or an http or https URL.`);
  }
  return value.replace(/\/+$/, '');
}

function demoLogins(value: unknown, emulator: unknown): DemoLogin[] {
  if (!Array.isArray(value)) throw new ConfigError('demoLogins must be a list.');
  if (value.length > 0 && emulator === null) throw new ConfigError('demoLogins are allowed with an authEmulator only.');
  return value.map((item: unknown, index) => {
    const name = `demoLogins[${index}]`;
    const login = fields(item, name);
    return {
      name: text(login, name, 'name'),
      role: text(login, name, 'role'),
      email: text(login, name, 'email'),
      password: text(login, name, 'password'),
    };
  });
}

function isHttpUrl(value: unknown): value is string {
  return typeof value === 'string' && /^https?:\/\//.test(value) && URL.canParse(value);
}
