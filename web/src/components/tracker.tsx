import type { Delivery } from '../api';

const STEPS = ['requested', 'dispatched', 'delivered'] as const;

const TEXTS: Record<Delivery['status'], string> = {
  requested: 'Requested',
  dispatched: 'On its way',
  delivered: 'Delivered',
  failed: 'Not delivered',
};

export function deliveryText(status: Delivery['status']): string {
  return TEXTS[status];
}

/** Where a parcel is: three steps, and a van that moves between them. */
export function Tracker({ status }: { status: Delivery['status'] }) {
  const reached = status === 'failed' ? 1 : STEPS.indexOf(status);
  return (
    <div class={`tracker at-${status}`}>
      <div class="track" aria-hidden="true">
        <span class="track-done" />
        <svg class="van" viewBox="0 0 40 28" width="40" height="28">
          <path class="van-body" d="M2 6a2 2 0 0 1 2-2h19v17H2zM23 9h7l6 6v6H23z" />
          <path class="van-window" d="M26 11.500h3.200l3.300 3.500H26z" />
          <circle class="van-wheel" cx="10" cy="22" r="3.500" />
          <circle class="van-wheel" cx="29" cy="22" r="3.500" />
        </svg>
      </div>
      <ol role="list" class="steps">
        {STEPS.map((step, index) => {
          const shown = status === 'failed' && index === 2 ? 'failed' : step;
          const isHere = shown === status;
          return (
            <li
              key={step}
              class={index <= reached || isHere ? 'reached' : ''}
              aria-current={isHere ? 'step' : undefined}
            >
              {TEXTS[shown]}
            </li>
          );
        })}
      </ol>
    </div>
  );
}
