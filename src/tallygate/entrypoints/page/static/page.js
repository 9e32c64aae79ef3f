/* Tallygate page: keys, and figures that follow the ledger. Every page works without it. */
"use strict";
(() => {
  const PAGES = { n: "now", s: "spend", e: "sessions", b: "budgets", g: "gate", i: "bills", p: "proof" };
  const state = (page) => {
    const kept = new URLSearchParams();
    const here = new URLSearchParams(location.search);
    for (const name of ["period", "filter", "theme"]) if (here.get(name)) kept.set(name, here.get(name));
    const text = kept.toString();
    return text ? `${page}?${text}` : page;
  };

  /* keys: single ones do nothing in fields, and can be switched off */
  let on = true;
  try { on = localStorage.getItem("keys") !== "off"; } catch { /* a browser that keeps nothing */ }
  let waits = false;
  const rows = () => [...document.querySelectorAll("main table.cards tbody tr:not(.group)")].filter((row) => row.querySelector("a"));
  const move = (by) => {
    const all = rows();
    const at = all.findIndex((row) => row.classList.contains("is-cursor"));
    const to = all[Math.min(Math.max(at + by, 0), all.length - 1)];
    if (!to) return;
    all.forEach((row) => row.classList.toggle("is-cursor", row === to));
    to.querySelector("a").focus();
    to.scrollIntoView({ block: "nearest" });
  };
  const typing = (at) => at.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName);
  const told = document.getElementById("keys");
  const turn = document.getElementById("keys-switch"), every = document.getElementById("keys-all");
  const show = () => { if (told) { told.hidden = false; turn.textContent = on ? "keys on" : "keys off"; turn.setAttribute("aria-pressed", String(on)); } };
  if (turn) turn.addEventListener("click", () => { on = !on; try { localStorage.setItem("keys", on ? "on" : "off"); } catch { /* as above */ } show(); });
  show();
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.key === "Escape") { waits = false; if (every) every.open = false; if (typing(document.activeElement)) document.activeElement.blur(); return; }
    if (!on || typing(event.target)) return;
    if (waits) { waits = false; if (PAGES[event.key]) { event.preventDefault(); location.href = state(PAGES[event.key]); } return; }
    switch (event.key) {
      case "g": waits = true; break;
      case "j": event.preventDefault(); move(1); break;
      case "k": event.preventDefault(); move(-1); break;
      case "/": event.preventDefault(); document.getElementById("f")?.focus(); break;
      case "?": event.preventDefault(); if (every) { every.open = true; every.querySelector("summary").focus(); every.scrollIntoView(); } break;
    }
  });

  /* what this browser has verified by itself, in this tab */
  const verified = document.getElementById("verified");
  window.tellVerified = () => {
    let said = null;
    try { said = sessionStorage.getItem("verified"); } catch { /* a browser that keeps nothing */ }
    if (verified && said) verified.textContent = `chain verified by this browser: ${said}`;
  };
  window.tellVerified();

  /* live: what changed is fetched as the same page, and only its main part is put in place */
  const live = document.getElementById("live");
  if (!live || !window.EventSource || document.getElementById("verify")) return; /* a check goes on as it began */
  let asked = false, last = 0;
  const follow = async () => {
    asked = false;
    const at = document.activeElement;
    if (document.hidden || (at && at.closest("main form")) || document.querySelector("main input[type=file]")?.files.length) { asked = true; return; }
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const way = at && at.closest("main") && at.getAttribute("href");
      for (const part of ["main", ".tools", ".bottom .figures"]) {
        const [old, now] = [document.querySelector(part), fresh.querySelector(part)];
        if (old && now) old.replaceWith(document.adoptNode(now));
      }
      if (way) document.querySelector(`main a[href="${CSS.escape(way)}"]`)?.focus();
      if (Date.now() - last > 10000) { last = Date.now(); live.textContent = `live, figures of ${new Date().toTimeString().slice(0, 5)}`; }
    } catch { live.textContent = "not live: the command has ended, or the ledger cannot be asked"; }
  };
  /* a page that nobody sees listens to nothing: browsers have six connections for all of them together */
  let source = null;
  const listen = () => {
    source = new EventSource("live");
    source.addEventListener("open", () => { live.textContent = "live"; });
    source.addEventListener("message", () => { if (!asked) { asked = true; setTimeout(follow, 300); } });
    source.addEventListener("error", () => { live.textContent = "not live: the command has ended, or the ledger cannot be asked"; });
  };
  if (!document.hidden) listen();
  addEventListener("visibilitychange", () => {
    if (document.hidden) { source?.close(); source = null; return; }
    if (!source) { listen(); follow(); }
  });
})();
