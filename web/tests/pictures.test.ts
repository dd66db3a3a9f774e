import { readFile } from 'node:fs/promises';

import { expect, test } from 'vitest';

import { drawingOf, GROUNDS, groundOf } from '../src/pictures/choose';
import { DRAWINGS, PARCEL } from '../src/pictures/drawings';

const seed = new URL('../../emulator/run/seed/catalogue.json', import.meta.url);
const styles = new URL('../src/styles/pictures.css', import.meta.url);

test('every product of the demo catalogue has a drawing of its own', async () => {
  const catalogue = JSON.parse(await readFile(seed, 'utf8')) as Record<string, { name: string }[]>;
  const names = Object.values(catalogue).flatMap((products) => products.map(({ name }) => name));
  const drawings = names.map((name) => drawingOf(name));
  expect(names.filter((_, index) => drawings[index] === PARCEL)).toEqual([]);
  expect(new Set(drawings).size).toBe(names.length);
});

test('every drawing is that of some product', async () => {
  const catalogue = JSON.parse(await readFile(seed, 'utf8')) as Record<string, { name: string }[]>;
  const used = new Set(Object.values(catalogue).flatMap((products) => products.map(({ name }) => drawingOf(name))));
  expect(DRAWINGS.filter((drawing) => !used.has(drawing)).map(({ alt }) => alt)).toEqual([]);
});

test('another product is drawn as a parcel', () => {
  expect(drawingOf('Quantum flux')).toBe(PARCEL);
});

test('every colour of a drawing is in the style sheet', async () => {
  const text = await readFile(styles, 'utf8');
  const colours = new Set([...DRAWINGS, PARCEL].flatMap(({ shapes }) => shapes.map(([colour]) => colour)));
  expect([...colours].filter((colour) => !text.includes(`.in-${colour} {`))).toEqual([]);
});

test('a product keeps its ground, and grounds differ', () => {
  const ids = Array.from({ length: 60 }, (_, index) => `id-${index}`);
  const grounds = ids.map((id) => groundOf(id, GROUNDS));
  expect(ids.map((id) => groundOf(id, GROUNDS))).toEqual(grounds);
  expect(new Set(grounds).size).toBe(GROUNDS);
});
