import './design/tokens.css';
import './design/base.css';
import './styles/layout.css';
import './styles/shop.css';
import './styles/order.css';
import './styles/pictures.css';

import { render } from 'preact';

import { App } from './app';
import { startRouter } from './router';
import { startSession } from './session';
import { applyTheme } from './theme';

applyTheme();
startRouter();
const root = document.getElementById('app');
if (root) render(<App />, root);

// The SDK is loaded after the first paint, so that a slow network shows the shop and not a blank page.
requestAnimationFrame(() => {
  setTimeout(() => void startSession(), 0);
});
