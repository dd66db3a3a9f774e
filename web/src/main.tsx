import './design/tokens.css';
import './design/base.css';

import { render } from 'preact';

const root = document.getElementById('app');
if (root) render(<h1>Demo Shop</h1>, root);
