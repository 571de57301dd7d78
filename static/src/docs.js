// The API reference: Swagger UI over our own description, with nothing fetched from elsewhere.
import SwaggerUI from 'swagger-ui-dist/swagger-ui-es-bundle.js';

// Its dark colours hang on a class of the root element; ours on another one.
const root = document.documentElement;
const follow = () => root.classList.toggle('dark-mode', root.classList.contains('dark'));
new MutationObserver(follow).observe(root, { attributeFilter: ['class'] });
follow();

SwaggerUI({ url: '/openapi.json', dom_id: '#api-reference', docExpansion: 'list', defaultModelsExpandDepth: 0, tryItOutEnabled: false });
