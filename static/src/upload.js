// The entry for pages that hold an uploader: the upload page whole, the library as a tray.
import { mountUploader } from './upload/uploader.js';

for (const root of document.querySelectorAll('[data-uploader]')) mountUploader(root);
