// What every page runs: htmx with its SSE extension, and the small behaviours of the frame.
import htmx from 'htmx.org';
import 'htmx-ext-sse';

import { startConfirmations } from './ui/confirm.js';
import { startDialogs } from './ui/dialogs.js';
import { startFrame } from './ui/frame.js';
import { startLive } from './ui/live.js';
import { startMenus } from './ui/menus.js';
import { startRequests } from './ui/requests.js';
import { startTimes } from './ui/times.js';
import { startToasts } from './ui/toasts.js';

window.htmx = htmx;

startFrame();
startMenus();
startLive();
startTimes();
startToasts();
startConfirmations();
startDialogs();
startRequests();
