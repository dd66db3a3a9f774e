import type { components } from './api/user';
import type { FieldMessages } from './problems';

export type Address = components['schemas']['Address'];
export type AddressField = keyof Address;

/** What is typed into an address form. */
export type AddressDraft = Record<AddressField, string>;

export const EMPTY_ADDRESS: AddressDraft = { name: '', line1: '', line2: '', city: '', postal_code: '', country: '' };

/** The longest text of each field that the services accept. */
export const ADDRESS_LIMITS: Record<AddressField, number> = {
  name: 200,
  line1: 200,
  line2: 200,
  city: 100,
  postal_code: 20,
  country: 2,
};

const MISSING: Partial<Record<AddressField, string>> = {
  name: 'Enter the name of the person who gets the parcel.',
  line1: 'Enter the street and the number.',
  city: 'Enter the city.',
  postal_code: 'Enter the postal code.',
  country: 'Choose a country.',
};

/** Return what must be corrected in a draft, for each field. */
export function checkAddress(draft: AddressDraft): FieldMessages<AddressField> {
  const messages: FieldMessages<AddressField> = {};
  for (const field of Object.keys(EMPTY_ADDRESS) as AddressField[]) {
    const text = draft[field].trim();
    const missing = MISSING[field];
    if (!text && missing) messages[field] = missing;
    else if (text.length > ADDRESS_LIMITS[field]) messages[field] = `Use at most ${ADDRESS_LIMITS[field]} characters.`;
  }
  return messages;
}

/** Return the address that a draft means. `checkAddress` has found nothing in it. */
export function toAddress(draft: AddressDraft): Address {
  return {
    name: draft.name.trim(),
    line1: draft.line1.trim(),
    line2: draft.line2.trim() || null,
    city: draft.city.trim(),
    postal_code: draft.postal_code.trim(),
    country: draft.country as Address['country'],
  };
}

export function toDraft(address: Address | null | undefined): AddressDraft {
  return address ? { ...address, line2: address.line2 ?? '' } : { ...EMPTY_ADDRESS };
}

const countryNames = new Intl.DisplayNames('en', { type: 'region' });

/** Return the name of a country: "Portugal" for PT. */
export function countryName(code: string): string {
  try {
    return countryNames.of(code) ?? code;
  } catch {
    return code;
  }
}

/** Return an address as lines of text. */
export function addressLines(address: Address): string[] {
  const { name, line1, line2, postal_code, city, country } = address;
  return [name, line1, ...(line2 ? [line2] : []), `${postal_code} ${city}`, countryName(country)];
}
