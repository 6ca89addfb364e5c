// The buttons of a server's page ask without leaving it: its log stays where it is.
"use strict";

(() => {
  const form = document.getElementById("server-now");

  function leaveFor(button) {
    // A question that has to be answered first, or a refusal: a page of its own.
    const ask = document.createElement("input");
    ask.type = "hidden";
    ask.name = button.name;
    ask.value = button.value;
    form.append(ask);
    form.action = button.formAction;
    form.submit();
  }

  function show(page) {
    document.querySelector("ul.messagelist")?.remove();
    const messages = page.querySelector("ul.messagelist");
    if (!messages) return;
    messages.setAttribute("role", "status");
    document.getElementById("content").before(messages);
  }

  form.addEventListener("submit", async (event) => {
    const button = event.submitter;
    if (!button) return;
    event.preventDefault();
    button.disabled = true; // once is enough
    try {
      const body = new FormData(form);
      body.append(button.name, button.value);
      const answer = await fetch(button.formAction, { method: "POST", body });
      const isThis = answer.ok && answer.url === window.location.href.split("#")[0];
      if (!isThis) return leaveFor(button);
      show(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      leaveFor(button); // the server is away: the browser says so
    } finally {
      button.disabled = false;
    }
  });
})();
