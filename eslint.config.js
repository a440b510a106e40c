import eslint from '@eslint/js';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** SQLite plans a statement again whenever the parameter that is its whole limit is bound, which costs five times what a lookup does. */
const plainLimit = {
  pattern: 'LIMIT [?](?! [+] 0)',
  message: 'SQLite prepares a statement with LIMIT ? anew each time it is run: write LIMIT ? + 0.',
};

export default defineConfig(
  { ignores: ['dist/', 'node_modules/', '.tap/'] },
  eslint.configs.recommended,
  {
    files: ['**/*.js', 'bin/cairn'],
    languageOptions: { globals: { process: 'readonly', URL: 'readonly' } },
  },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      'no-restricted-syntax': [
        'error',
        { selector: `Literal[value=/${plainLimit.pattern}/]`, message: plainLimit.message },
        { selector: `TemplateElement[value.raw=/${plainLimit.pattern}/]`, message: plainLimit.message },
      ],
    },
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      // t.test() hands its promise to tap, which waits for it whether or not the test does.
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafePromises: [
            { from: 'package', name: 'PromiseWithSubtest', package: '@tapjs/core' },
          ],
        },
      ],
      // The body of a test is async also where it has nothing to wait for: tap then needs no t.end().
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // tap fails a test by a thrown error, and says where.
      '@typescript-eslint/no-non-null-assertion': 'off',
    },
  },
);
