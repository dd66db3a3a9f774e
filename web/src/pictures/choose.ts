import { DRAWINGS, PARCEL, type Drawing } from './drawings';

/** How many colours there are for the ground of a picture. */
export const GROUNDS = 6;

/** Return the drawing whose words appear first in a product's name; a parcel if none does. */
export function drawingOf(name: string): Drawing {
  const words = name.toLowerCase();
  return DRAWINGS.find((drawing) => drawing.words.test(words)) ?? PARCEL;
}

/** Return the number of the ground of a product: always the same for an id. */
export function groundOf(id: string, grounds: number): number {
  let hash = 0;
  for (const letter of id) hash = (hash * 31 + (letter.codePointAt(0) ?? 0)) >>> 0;
  return hash % grounds;
}
