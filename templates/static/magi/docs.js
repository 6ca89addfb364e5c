// Swagger UI on our own document. Nothing is asked of another site, and a key that is
// entered is kept no longer than the page.
"use strict";

const docs = document.getElementById("docs");

SwaggerUIBundle({
  url: docs.dataset.schema,
  domNode: docs,
  deepLinking: true,
  docExpansion: "none",
  filter: true,
  validatorUrl: null,
  persistAuthorization: false,
  requestInterceptor: (request) => {
    const isOurs = new URL(request.url, location.href).origin === location.origin;
    if (isOurs && docs.dataset.csrfToken && request.method !== "GET") {
      request.headers["X-CSRFToken"] = docs.dataset.csrfToken;  // who is signed in needs it
    }
    return request;
  },
});
