// Django's picker of several names its signs to those who do not see them, as something that
// has no name by the rules: it is an image.
"use strict";

window.addEventListener("load", () => {
  for (const sign of document.querySelectorAll(".selector .help-tooltip")) {
    sign.setAttribute("role", "img");
  }
});
