// The list of requests: a label is given where it stands, and all rows are ticked at once.
//
// Without it the buttons send the page's form, and the page comes again at the same row.
"use strict";

(() => {
  const list = document.getElementById("requests");
  if (!list) return;

  const CALLBACKS = { beforeNodeMorphed: (shown) => !(shown instanceof HTMLInputElement) };

  async function send(form, button) {
    try {
      const body = new FormData(form, button);
      const answer = await fetch(window.location.href, {
        method: "POST",
        body,
        headers: { "X-Magi-Live": "1" }, // messages stay for a page that shows them
      });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const rows = fresh.getElementById("requests");
      if (!answer.ok || !rows) throw new Error(answer.statusText);
      Idiomorph.morph(list, rows, { callbacks: CALLBACKS }); // what is ticked stays ticked
    } catch {
      window.location.reload(); // says what is wrong: signed out, or no longer allowed
    }
  }

  list.closest("form").addEventListener("submit", (event) => {
    const button = event.submitter;
    if (button?.name !== "label") return;
    event.preventDefault();
    send(event.target, button);
  });

  list.addEventListener("change", (event) => {
    if (event.target.id !== "action-toggle") return;
    for (const box of list.querySelectorAll(".action-select")) box.checked = event.target.checked;
  });
})();
