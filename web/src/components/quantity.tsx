import { useEffect, useState } from 'preact/hooks';

import { MAX_QUANTITY } from '../basket';

interface QuantityProps {
  /** What is counted, for the labels: "Quantity of Enamel mug". */
  of: string;
  value: number;
  max?: number;
  onValue: (value: number) => void;
}

/** A number with buttons for one less and one more. A typed number counts when the field is left, or with Enter. */
export function Quantity({ of, value, max = MAX_QUANTITY, onValue }: QuantityProps) {
  const [typed, setTyped] = useState(String(value));
  useEffect(() => {
    setTyped(String(value));
  }, [value]);
  function commit(): void {
    const number = /^\d+$/.test(typed.trim()) ? Number(typed) : 0;
    const next = number >= 1 ? Math.min(number, max) : value;
    setTyped(String(next));
    if (next !== value) onValue(next);
  }
  function step(by: number): void {
    const next = value + by;
    if (next >= 1 && next <= max) onValue(next);
  }
  return (
    <div class="quantity">
      <button
        type="button"
        aria-label={`One less: ${of}`}
        aria-disabled={value <= 1}
        onClick={() => {
          step(-1);
        }}
      >
        −
      </button>
      <input
        type="text"
        inputMode="numeric"
        aria-label={`Quantity of ${of}`}
        value={typed}
        maxLength={4}
        onInput={(event) => {
          setTyped(event.currentTarget.value);
        }}
        onBlur={commit}
        onKeyDown={(event) => {
          if (event.key === 'Enter') commit();
        }}
      />
      <button
        type="button"
        aria-label={`One more: ${of}`}
        aria-disabled={value >= max}
        onClick={() => {
          step(1);
        }}
      >
        +
      </button>
    </div>
  );
}
