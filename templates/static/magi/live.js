// Keeps a page as the server would show it now, without a reload.
//
// A part of a page that changes has `data-live`, with the kinds of events that change it
// ("server task"; none: all of them), and an `id`. When one comes, the page is asked for
// again and such parts are made what they are there: only what differs is touched, and never
// what somebody is writing. `data-live-every="10"` has a part looked at every ten seconds.
"use strict";

(() => {
  const EVENTS = "/api/events";
  const KINDS = ["server", "model", "profile", "scan", "task", "lost"];
  const PAUSE_MS = 400; // events come in crowds
  const AWAY_MS = 10000; // between looks while no events come

  const parts = () => [...document.querySelectorAll("[data-live][id]")];
  if (parts().length === 0) return;

  let timer = null;
  let looking = false;
  let again = false;
  let source = null;

  function isTouched(field) {
    if (field instanceof HTMLSelectElement && !field.multiple) {
      // Where none is marked, a browser chooses the first.
      const at = [...field.options].findIndex((option) => option.defaultSelected);
      return field.selectedIndex !== Math.max(at, 0);
    }
    if (field instanceof HTMLSelectElement) {
      return [...field.options].some((option) => option.selected !== option.defaultSelected);
    }
    if (field.type === "checkbox" || field.type === "radio") {
      return field.checked !== field.defaultChecked;
    }
    return field.value !== field.defaultValue;
  }

  const CALLBACKS = {
    beforeNodeMorphed(shown) {
      const isField = shown instanceof HTMLElement && shown.matches("input, select, textarea");
      return !(isField && (shown === document.activeElement || isTouched(shown)));
    },
    beforeAttributeUpdated(name, shown) {
      return !(name === "open" && shown instanceof HTMLDetailsElement);
    },
  };

  async function look() {
    if (looking) {
      again = true;
      return;
    }
    looking = true;
    try {
      const answer = await fetch(window.location.href, { headers: { "X-Magi-Live": "1" } });
      if (answer.redirected && answer.url.includes("/login/")) {
        say("signed out", false);
        source?.close();
        return;
      }
      if (!answer.ok) return;
      const now = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of parts()) {
        const fresh = now.getElementById(part.id);
        if (fresh) Idiomorph.morph(part, fresh, { callbacks: CALLBACKS });
      }
      document.dispatchEvent(new CustomEvent("magi:looked"));
    } catch {
      // The server is away: the next event or look finds it back.
    } finally {
      looking = false;
      if (again) {
        again = false;
        soon();
      }
    }
  }

  function soon() {
    timer ??= setTimeout(() => {
      timer = null;
      if (!document.hidden) look();
    }, PAUSE_MS);
  }

  function concerns(part, kind) {
    const kinds = part.dataset.live;
    return !kinds || kind === "lost" || kinds.split(" ").includes(kind);
  }

  function say(text, isLive) {
    const place = document.getElementById("magi-live");
    if (!place || place.textContent === text) return;
    place.textContent = text;
    place.classList.toggle("is-live", isLive);
  }

  function listen() {
    // A browser has six connections for a site: a tab that nobody looks at takes none.
    if (document.hidden || (source && source.readyState !== EventSource.CLOSED)) return;
    source = new EventSource(EVENTS);
    source.onopen = () => {
      say("live", true);
      soon(); // of what happened while nobody listened
    };
    source.onerror = () => {
      say("not live", false);
      // A refusal ends it; a connection that broke off it mends itself.
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, AWAY_MS);
    };
    for (const kind of KINDS) {
      source.addEventListener(kind, () => {
        if (parts().some((part) => concerns(part, kind))) soon();
      });
    }
  }

  setInterval(() => {
    if (source?.readyState !== EventSource.OPEN) soon();
  }, AWAY_MS);
  const every = parts().map((part) => Number(part.dataset.liveEvery)).filter((s) => s > 0);
  if (every.length > 0) setInterval(soon, Math.min(...every) * 1000);
  document.addEventListener("visibilitychange", () => (document.hidden ? source?.close() : listen()));
  window.addEventListener("pagehide", () => source?.close());
  window.addEventListener("pageshow", listen);
})();
