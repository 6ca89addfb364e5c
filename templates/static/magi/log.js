// A server's log as it is written: followed, searched, held still.
//
// Its lines come as server-sent events whose id says where in the log they are
// ("TURN-OFFSET"), so that what is shown already is not shown twice. What a log has is
// nobody's markup: it goes into the page as text.
"use strict";

(() => {
  const KEPT = 5000; // lines in the page
  const FIRST = 1000; // asked for at first
  const TOGETHER_MS = 60; // lines come in crowds
  const REST_MS = 60000; // paused for longer, nothing is listened to
  const AWAY_MS = 5000; // until a refused connection is tried again
  const MAX_MARKS = 2000;

  const log = document.getElementById("log");
  const frame = document.getElementById("log-end");
  const says = document.getElementById("log-says");
  const search = document.getElementById("log-search");
  const wrap = document.getElementById("log-wrap");
  const pause = document.getElementById("log-pause");

  let source = null;
  let last = null; // place of the newest line that came
  let isNew = false; // nothing has come over this connection
  let pending = [];
  let startsAnew = true; // what is shown goes when the next lines come
  let timer = null;
  let isPaused = false;
  let rest = null; // the timer of that
  let isResting = false;
  let shown = 0; // lines that the search lets through

  // -- lines that come

  function listen() {
    if (document.hidden || isResting || source) return;
    const lines = last ? KEPT : FIRST;
    source = new EventSource(`${log.dataset.stream}&follow=1&lines=${lines}`);
    source.onopen = () => {
      isNew = true;
      tell();
    };
    source.onerror = () => {
      const isOver = source.readyState === EventSource.CLOSED;
      if (isOver) leave();
      tell();
      if (isOver) setTimeout(listen, AWAY_MS);
    };
    source.onmessage = take;
  }

  function leave() {
    source?.close();
    source = null;
  }

  function take(event) {
    const [turn, offset] = event.lastEventId.split("-");
    const place = { turn, offset: Number(offset) };
    if (isNew && last) {
      if (place.turn === last.turn && place.offset <= last.offset) return;
      if (place.turn !== last.turn) {
        startsAnew = true; // the log was turned over: no telling what is here already
        pending = [];
      }
    }
    isNew = false;
    last = place;
    pending.push(event.data);
    if (pending.length > KEPT) pending.shift();
    timer ??= setTimeout(write, TOGETHER_MS);
  }

  function write() {
    timer = null;
    if (!isPaused && pending.length > 0) {
      if (startsAnew) {
        log.replaceChildren();
        shown = 0;
        startsAnew = false;
      }
      append(pending);
      pending = [];
    }
    tell();
  }

  function append(lines) {
    const isAtEnd = frame.scrollTop > -4; // it counts from its end
    const before = frame.scrollHeight;
    const added = lines.map((text) => {
      const line = document.createElement("span");
      line.textContent = text;
      return line;
    });
    added.forEach(letThrough);
    log.append(...added);
    if (!isAtEnd) frame.scrollTop -= frame.scrollHeight - before;
    while (log.childElementCount > KEPT) {
      if (!log.firstElementChild.hidden) shown -= 1;
      log.firstElementChild.remove();
    }
    if (search.value) mark();
  }

  // -- search

  function letThrough(line) {
    const isWanted = line.textContent.toLowerCase().includes(search.value.toLowerCase());
    line.hidden = !isWanted;
    if (isWanted) shown += 1;
  }

  function find() {
    shown = 0;
    [...log.children].forEach(letThrough);
    frame.scrollTop = 0;
    mark();
    tell();
  }

  function mark() {
    if (!CSS.highlights) return;
    const needle = search.value.toLowerCase();
    const found = new Highlight();
    for (const line of needle ? [...log.children].reverse() : []) {
      if (line.hidden) continue;
      const text = line.textContent.toLowerCase();
      for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + needle.length)) {
        const range = new Range();
        range.setStart(line.firstChild, Math.min(at, line.firstChild.length));
        range.setEnd(line.firstChild, Math.min(at + needle.length, line.firstChild.length));
        found.add(range);
      }
      if (found.size > MAX_MARKS) break;
    }
    CSS.highlights.set("log-found", found);
  }

  // -- what is said of it

  function tell() {
    const all = log.childElementCount;
    const parts = [];
    if (isPaused) {
      const more = pending.length === 1 ? "1 line has" : `${pending.length} lines have`;
      parts.push(isResting ? `paused, and not listening; ${more} come so far` : `paused; ${more} come meanwhile`);
    } else {
      parts.push(source?.readyState === EventSource.OPEN ? "live" : "not live, trying again");
    }
    if (all >= KEPT) parts.push(`the last ${KEPT.toLocaleString("en")} lines; the rest is in the download`);
    if (search.value) parts.push(`${shown} of ${all} lines have “${search.value}”`);
    says.textContent = parts.join(" · ");
    search.classList.toggle("is-without", search.value !== "" && shown === 0);
    pause.textContent = isPaused ? `Resume${pending.length ? ` (${pending.length} new)` : ""}` : "Pause";
    pause.setAttribute("aria-pressed", String(isPaused));
  }

  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    clearTimeout(rest);
    isResting = false;
    if (isPaused) {
      rest = setTimeout(() => {
        isResting = true;
        leave();
        tell();
      }, REST_MS);
    } else {
      listen();
    }
    write();
  });
  search.addEventListener("input", find);
  wrap.addEventListener("change", () => log.classList.toggle("is-unwrapped", !wrap.checked));
  // A browser has six connections for a site: a tab that nobody looks at takes none.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) leave();
    else listen();
  });
  window.addEventListener("pagehide", leave);
  window.addEventListener("pageshow", listen);

  document.getElementById("log-tools").hidden = false;
  listen();
})();
