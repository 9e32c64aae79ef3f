
/* What follows is the page itself; what stands above is the verifier, as `tallygate attest verifier` prints it. */
{
  const one = (id) => document.getElementById(id);
  const safe = (text) => String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\ufffd").slice(0, 1000);
  const plain = (text) => text.replace(/[\p{C}\p{Zl}\p{Zp}\ufffd]/gu, "");
  const list = (found) => one("found").replaceChildren(...found.map((text) => Object.assign(document.createElement("li"), { textContent: safe(text) })));

  /* The facts once more, out of what was signed: each value by the way to it, and each event with its hash. */
  const flat = (value, way) => value !== null && typeof value === "object"
    ? Object.entries(value).flatMap(([name, each]) => flat(each, [...way, Array.isArray(value) ? String(Number(name) + 1) : name]))
    : [[way.join(" "), typeof value === "string" ? value : JSON.stringify(value)]];
  const facts = (files) => {
    const text = (name) => new TextDecoder().decode(files.get(name) ?? new Uint8Array());
    const events = text("events.jsonl").split("\n").filter(Boolean).map((line) => JSON.parse(line));
    return [...flat(JSON.parse(text("statement.json")).predicate, []), ...events.map((each) => [`event ${each.seq}`, each.hash])];
  };

  const held = async () => {
    const stored = one("bundle").textContent;
    const told = new TextEncoder().encode(one("main").textContent + stored);
    const digest = [...new Uint8Array(await crypto.subtle.digest("SHA-256", told))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    if (digest !== document.documentElement.dataset.sum) throw new NotProven("this copy is not as it was made: its text or its bundle was changed");
    const files = await filesOf(Uint8Array.from(atob(stored.trim()), (sign) => sign.charCodeAt(0)));
    const shown = [...document.querySelectorAll("#main tbody tr")].map((row) => [...row.cells].map((cell) => plain(cell.textContent)));
    const signed = facts(files).map((row) => row.map(plain));
    if (JSON.stringify(shown) !== JSON.stringify(signed)) throw new NotProven("what this page shows is not what its bundle holds");
    return files;
  };

  const look = async () => {
    const said = one("said");
    list([]);
    try {
      const files = await held(), typed = one("key").value.trim(), isId = /^[A-Za-z0-9_-]{43}$/.test(typed);
      const keys = typed && !isId ? await keysFrom(new TextEncoder().encode(typed)) : [];
      const found = await checkBundle(files, { keys, keyids: isId ? [typed] : [] });
      const onlyKey = found.broken.every((each) => each.where === "key");
      said.textContent = !found.code ? "Verified by this browser" : onlyKey ? "Whole, but the key is not known to be the right one" : "Refused: something in it is broken or not proven";
      list([...found.broken.map((each) => `${each.where}: ${each.what}`), ...found.notes, ...found.facts]);
    } catch (error) { said.textContent = `Refused: ${safe(error.message)}`; }
  };

  one("unscripted").hidden = true;
  one("check").hidden = false;
  one("check").addEventListener("submit", (event) => { event.preventDefault(); look(); });
  await look();
}
