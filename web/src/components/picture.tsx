import { drawingOf, GROUNDS, groundOf } from '../pictures/choose';

interface PictureProps {
  product: { id: string; name: string };
  class?: string;
  /** Whether the product's name stands beside it, so that a screen reader need not hear it twice. */
  decorative?: boolean;
}

/** The drawing of a product: chosen by its name, on a ground chosen by its id. */
export function Picture({ product, class: className = '', decorative = false }: PictureProps) {
  const { shapes, alt } = drawingOf(product.name);
  const ground = groundOf(product.id, GROUNDS);
  const text = decorative ? { 'aria-hidden': true as const } : { role: 'img' as const, 'aria-label': alt };
  return (
    <svg class={`picture ground-${ground} ${className}`} viewBox="0 0 120 120" {...text}>
      <rect class="ground" width="120" height="120" />
      <ellipse class="shade" cx="60" cy="98" rx="34" ry="4" />
      {shapes.map(([colour, d, width], index) =>
        width === undefined ? (
          <path key={index} class={`fill in-${colour}`} d={d} />
        ) : (
          <path key={index} class={`line in-${colour}`} d={d} stroke-width={width} />
        ),
      )}
    </svg>
  );
}
