/* Files that are dropped anywhere on the form are sent as if they had been chosen. Without script the field does it. */
"use strict";
(() => {
  const held = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const form = () => document.getElementById("add");
  const over = (is) => form()?.classList.toggle("is-over", is);
  /* A file that misses the form would take the place of the page. */
  addEventListener("dragover", (event) => { if (held(event)) { event.preventDefault(); over(Boolean(event.target.closest?.("#add"))); } });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) over(false); });
  addEventListener("drop", (event) => {
    if (!held(event)) return;
    event.preventDefault();
    over(false);
    if (!event.target.closest?.("#add") || !event.dataTransfer.files.length) return;
    document.getElementById("bill").files = event.dataTransfer.files;
    form().requestSubmit();
  });
})();
