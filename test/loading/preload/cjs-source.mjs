import { register } from 'node:module';

register('./cjs-source-hooks.mjs', import.meta.url);
