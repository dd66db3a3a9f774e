import { createContext, type ComponentChildren, type InputHTMLAttributes } from 'preact';
import { useContext, useEffect, useId, useRef } from 'preact/hooks';

interface FieldProps {
  label: string;
  /** The name of the field, in its form and for the browser's own suggestions. */
  name: string;
  value: string;
  onValue: (value: string) => void;
  error?: string | undefined;
  hint?: string | undefined;
  optional?: boolean;
  class?: string;
}

interface Described {
  id: string;
  name: string;
  'aria-invalid': boolean;
  'aria-describedby': string | undefined;
  'aria-required': boolean;
}

/** The messages of the form that a field is in. */
const FormErrors = createContext<object>({});

/** Return a field's message until the field is changed: then it may be wrong. */
function useFreshError(error: string | undefined, value: string): string | undefined {
  const errors = useContext(FormErrors);
  const given = useRef({ errors, value });
  if (given.current.errors !== errors) given.current = { errors, value };
  return given.current.value === value ? error : undefined;
}

type FrameProps = Omit<FieldProps, 'onValue'> & { render: (attributes: Described) => ComponentChildren };

function Frame({ label, value, hint, optional = false, class: className = '', name, render, ...rest }: FrameProps) {
  const id = useId();
  const error = useFreshError(rest.error, value);
  const hintId = `${id}-hint`;
  const errorId = `${id}-error`;
  const describedBy = [hint ? hintId : '', error ? errorId : ''].filter(Boolean).join(' ');
  return (
    <div class={`field ${className}`}>
      <label for={id}>
        {label}
        {optional && <span class="optional"> (optional)</span>}
      </label>
      {render({
        id,
        name,
        'aria-invalid': Boolean(error),
        'aria-describedby': describedBy || undefined,
        'aria-required': !optional,
      })}
      {hint && (
        <span class="hint" id={hintId}>
          {hint}
        </span>
      )}
      {error && (
        <span class="error" id={errorId}>
          {error}
        </span>
      )}
    </div>
  );
}

interface TextFieldProps extends FieldProps {
  type?: 'text' | 'email' | 'password' | 'tel';
  autocomplete?: string;
  inputMode?: InputHTMLAttributes['inputMode'];
  maxLength?: number;
}

export function TextField({
  type = 'text',
  autocomplete,
  inputMode,
  maxLength,
  value,
  onValue,
  ...frame
}: TextFieldProps) {
  return (
    <Frame
      {...frame}
      value={value}
      render={(attributes) => (
        <input
          {...attributes}
          // Preact has a type for each type of input, and this is one of several.
          {...({ type, value, autocomplete, inputMode, maxLength } as InputHTMLAttributes)}
          onInput={(event) => {
            onValue(event.currentTarget.value);
          }}
        />
      )}
    />
  );
}

export function TextArea({ maxLength, value, onValue, ...frame }: FieldProps & { maxLength?: number }) {
  return (
    <Frame
      {...frame}
      value={value}
      render={(attributes) => (
        <textarea
          {...attributes}
          {...{ value, maxLength }}
          rows={4}
          onInput={(event) => {
            onValue(event.currentTarget.value);
          }}
        />
      )}
    />
  );
}

interface SelectProps extends FieldProps {
  options: readonly { value: string; text: string }[];
  autocomplete?: string;
}

export function SelectField({ options, autocomplete, value, onValue, ...frame }: SelectProps) {
  return (
    <Frame
      {...frame}
      value={value}
      render={(attributes) => (
        <select
          {...attributes}
          {...{ value, autocomplete }}
          onChange={(event) => {
            onValue(event.currentTarget.value);
          }}
        >
          {!options.some((option) => option.value === value) && <option value={value}>Choose…</option>}
          {options.map((option) => (
            <option key={option.value} value={option.value}>
              {option.text}
            </option>
          ))}
        </select>
      )}
    />
  );
}

interface FormProps {
  label: string;
  /** The messages of its fields. When they change, the first wrong field gets the focus. */
  errors: object;
  onSubmit: () => void;
  class?: string;
  children: ComponentChildren;
}

/** A form whose messages stand beside its fields, in place of the browser's bubbles. */
export function Form({ label, errors, onSubmit, class: className = 'stack', children }: FormProps) {
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => {
    form.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus();
  }, [errors]);
  return (
    <form
      ref={form}
      class={className}
      aria-label={label}
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        onSubmit();
      }}
    >
      <FormErrors.Provider value={errors}>{children}</FormErrors.Provider>
    </form>
  );
}
