// ESLint runs in the project's folder (package.json), so that the lab's scripts are within its reach.
import js from '@eslint/js';
import { defineConfig } from 'eslint/config';
import globals from 'globals';
import typescript from 'typescript-eslint';

const LAB = ['emulator/lab/static/**/*.js'];
const TYPED = ['web/src/**/*.{ts,tsx}', 'web/tests/**/*.ts'];

export default defineConfig(
  { ignores: ['web/dist/**', 'web/src/api/*.d.ts', '**/node_modules/**'] },
  { files: [...TYPED, ...LAB, 'web/*.config.{js,ts}', 'web/scripts/*.js'] },
  js.configs.recommended,
  {
    rules: {
      eqeqeq: 'error',
      'no-eval': 'error',
      'no-implied-eval': 'error',
      'prefer-const': 'error',
      'no-var': 'error',
    },
  },
  { files: LAB, languageOptions: { globals: globals.browser } },
  { files: ['web/*.config.{js,ts}', 'web/scripts/*.js'], languageOptions: { globals: globals.node } },
  { files: ['web/*.config.ts'], extends: [typescript.configs.recommended] },
  {
    files: TYPED,
    extends: [typescript.configs.strictTypeChecked],
    languageOptions: {
      globals: globals.browser,
      parserOptions: { project: ['tsconfig.json', 'tsconfig.scripts.json'], tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      // An event handler may be async: its promise has its own error handling.
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: { attributes: false } }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
    },
  },
);
