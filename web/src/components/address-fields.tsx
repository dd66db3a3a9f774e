import { useMemo } from 'preact/hooks';

import { ADDRESS_LIMITS, countryName, type AddressDraft, type AddressField } from '../address';
import { COUNTRY_CODES } from '../api/countries';
import type { FieldMessages } from '../problems';
import { SelectField, TextField } from './fields';

interface AddressFieldsProps {
  legend: string;
  draft: AddressDraft;
  errors: FieldMessages<AddressField>;
  onChange: (changes: Partial<AddressDraft>) => void;
}

const LABELS: Record<AddressField, string> = {
  name: 'Full name',
  line1: 'Street and number',
  line2: 'Apartment, floor, company',
  postal_code: 'Postal code',
  city: 'City',
  country: 'Country',
};

const AUTOCOMPLETE: Record<AddressField, string> = {
  name: 'name',
  line1: 'address-line1',
  line2: 'address-line2',
  postal_code: 'postal-code',
  city: 'address-level2',
  country: 'country',
};

/** The fields of an address. */
export function AddressFields({ legend, draft, errors, onChange }: AddressFieldsProps) {
  const countries = useMemo(
    () =>
      COUNTRY_CODES.map((code) => ({ value: code, text: countryName(code) })).sort((a, b) =>
        a.text.localeCompare(b.text, 'en'),
      ),
    [],
  );
  const field = (name: AddressField) => ({
    label: LABELS[name],
    name,
    value: draft[name],
    error: errors[name],
    autocomplete: AUTOCOMPLETE[name],
    onValue: (value: string) => {
      onChange({ [name]: value });
    },
  });
  const text = (name: AddressField) => ({ ...field(name), maxLength: ADDRESS_LIMITS[name] });
  return (
    <fieldset>
      <legend class="visually-hidden">{legend}</legend>
      <div class="address-grid">
        <TextField {...text('name')} class="wide" />
        <TextField {...text('line1')} class="wide" />
        <TextField {...text('line2')} class="wide" optional />
        <TextField {...text('postal_code')} />
        <TextField {...text('city')} />
        <SelectField {...field('country')} class="wide" options={countries} />
      </div>
    </fieldset>
  );
}
