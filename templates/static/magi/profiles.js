// The form of a profile: models are found by any part of their names, rows are added and
// moved. Without it one types ids and positions.
"use strict";

(() => {
  const PAUSE_MS = 150; // until somebody who types has stopped to

  // -- rows: added from their template, moved up and down, numbered in their order

  function number(list) {
    [...list.children].forEach((row, place) => {
      const field = row.querySelector("input[name$='-position']");
      const named = row.querySelector("[name$='-model_id'], [name$='-name']");
      if (field && named.value) field.value = place; // an empty row stays empty
    });
  }

  function add(group, model) {
    const total = group.querySelector("input[name$='-TOTAL_FORMS']");
    const copy = group.querySelector("template[data-empty]").content.cloneNode(true);
    for (const part of copy.querySelectorAll("*")) {
      for (const { name, value } of [...part.attributes]) {
        if (value.includes("__prefix__")) part.setAttribute(name, value.replace("__prefix__", total.value));
      }
    }
    total.value = Number(total.value) + 1;
    const row = copy.firstElementChild;
    group.querySelector(".magi-rows").append(copy);
    group.querySelector(".magi-no-rows").hidden = true;
    prepare(row);
    const field = row.querySelector("input[name$='-model_id']");
    field.value = model.id;
    tell(field, model);
    number(row.parentElement);
    return row;
  }

  function prepare(row) {
    for (const part of row.querySelectorAll(".magi-moves")) part.hidden = false;
    const off = row.querySelector(".magi-remove input");
    off?.addEventListener("change", () => row.classList.toggle("is-off", off.checked));
    const field = row.querySelector("input[name$='-model_id']");
    if (field) search(field, (model) => {
      field.value = model.id;
      tell(field, model);
    });
    for (const button of row.querySelectorAll("[data-move]")) {
      button.addEventListener("click", () => {
        const list = row.parentElement;
        if (button.dataset.move === "1") row.nextElementSibling?.after(row);
        else row.previousElementSibling?.before(row);
        number(list);
        button.focus();
      });
    }
  }

  function tell(field, model) {
    const place = field.closest(".magi-row").querySelector(".magi-known");
    const name = document.createElement("b");
    const where = document.createElement("span");
    name.textContent = model.name ?? "";
    where.textContent = [model.tier, model.place].filter(Boolean).join(", ");
    where.className = model.is_well === false ? "magi-failed" : "magi-quiet";
    place.replaceChildren(name, " ", where);
  }

  // -- a field that finds models: a combobox, as WAI-ARIA has it

  function search(field, take) {
    const url = document.querySelector("[data-models]")?.dataset.models;
    if (!url) return;
    const list = document.createElement("ul");
    list.className = "magi-found";
    list.id = `${field.id}-found`;
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", "Models");
    list.hidden = true;
    field.after(list);
    for (const [name, value] of Object.entries({
      role: "combobox", "aria-controls": list.id, "aria-expanded": "false", "aria-autocomplete": "list", autocomplete: "off",
    })) field.setAttribute(name, value);
    let found = [];
    let chosen = -1;
    let timer = null;

    function close() {
      list.hidden = true;
      chosen = -1;
      field.setAttribute("aria-expanded", "false");
      field.removeAttribute("aria-activedescendant");
    }

    function choose(place) {
      chosen = place;
      [...list.children].forEach((option, index) => option.setAttribute("aria-selected", index === place));
      const option = list.children[place];
      if (!option) return;
      field.setAttribute("aria-activedescendant", option.id);
      option.scrollIntoView({ block: "nearest" });
    }

    function pick(place) {
      const model = found[place];
      close();
      take(model);
    }

    function show(models) {
      found = models;
      list.replaceChildren(...models.map((model, place) => {
        const option = document.createElement("li");
        const small = document.createElement("small");
        option.id = `${list.id}-${place}`;
        option.setAttribute("role", "option");
        option.setAttribute("aria-selected", "false");
        small.textContent = [model.id, model.tier, model.place].filter(Boolean).join(" · ");
        option.append(model.name, small);
        option.addEventListener("mousedown", (event) => {
          event.preventDefault(); // the field keeps the focus
          pick(place);
        });
        return option;
      }));
      list.hidden = models.length === 0;
      field.setAttribute("aria-expanded", String(models.length > 0));
      chosen = -1;
    }

    async function look() {
      const asked = field.value.trim();
      if (!asked) return close();
      try {
        const answer = await fetch(`${url}?q=${encodeURIComponent(asked)}`);
        if (answer.ok && asked === field.value.trim()) show((await answer.json()).models);
      } catch {
        close(); // the server is away; an id can be typed all the same
      }
    }

    field.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(look, PAUSE_MS);
    });
    field.addEventListener("blur", close);
    field.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" && !list.hidden) choose(Math.min(chosen + 1, found.length - 1));
      else if (event.key === "ArrowUp" && !list.hidden) choose(Math.max(chosen - 1, 0));
      else if (event.key === "Escape" && !list.hidden) close();
      else if (event.key === "Enter" && chosen >= 0) pick(chosen);
      else if (event.key === "Enter" && "adds" in field.dataset && field.value.trim()) take({ id: field.value.trim() });
      else return;
      event.preventDefault();
    });
  }

  for (const group of document.querySelectorAll("[data-rows]")) {
    for (const row of group.querySelectorAll(".magi-row")) prepare(row);
    const adding = group.querySelector("[data-adds]");
    if (!adding) continue;
    adding.parentElement.hidden = false;
    // Rows for those who cannot add any.
    for (const row of group.querySelectorAll(".magi-row.is-new:not(.is-wrong)")) {
      if (row.querySelector("input[name$='-model_id']").value === "") row.hidden = true;
    }
    group.querySelector(".magi-no-rows").hidden = group.querySelector(".magi-row:not([hidden])") !== null;
    search(adding, (model) => {
      add(group, model);
      adding.value = "";
    });
  }
  const classifier = document.getElementById("id_routing_classifier_model");
  if (classifier instanceof HTMLInputElement) {
    search(classifier, (model) => {
      classifier.value = model.id;
    });
  }

  // -- a text to the clipboard

  for (const button of document.querySelectorAll("[data-copies]")) {
    if (!navigator.clipboard) break; // a page that is not of this machine, without TLS
    button.hidden = false;
    button.addEventListener("click", async () => {
      const text = document.querySelector(button.dataset.copies);
      await navigator.clipboard.writeText(text.value ?? text.textContent);
      button.textContent = "Copied";
    });
  }
})();
