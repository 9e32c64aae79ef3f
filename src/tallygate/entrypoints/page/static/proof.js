/* The check that this browser makes: stored bytes in pieces, by the same verifier that auditors run under Node. */
import { ChainWalk, KeyTrust, NotProven, checkBundle, filesOf, keysFrom, opened } from "./verify.mjs";

const one = (id) => document.getElementById(id);
const form = one("verify");
const safe = (text) => String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\ufffd").slice(0, 500);
const list = (at, found) => at.replaceChildren(...found.map((text) => Object.assign(document.createElement("li"), { textContent: safe(text) })));
const asked = async (address) => {
  const answer = await fetch(address, { credentials: "same-origin" });
  if (!answer.ok) throw new NotProven(`the server answered ${answer.status} to ${address}`);
  return (await answer.text()).split("\n").filter(Boolean).map((line) => JSON.parse(line));
};
const count = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;

/* Envelopes first, so that one way through the chain is enough: each is compared when its event comes by. */
async function envelopes(say) {
  const found = [];
  for (let after = ""; ;) {
    const piece = await asked(`envelopes${after && `?after=${encodeURIComponent(after)}`}`);
    if (!piece.length) return found;
    found.push(...piece);
    after = piece.at(-1).id;
    say(`${count(found.length, "envelope")} read`);
  }
}

async function walk(say) {
  const { chain, seq, head, mark, markSeq } = form.dataset;
  const [keyid, written] = [one("known-key").value.trim(), one("known-head").value.trim().toLowerCase()];
  if (written && !/^[0-9a-f]{64}$/.test(written)) throw new NotProven("a head has 64 hexadecimal digits");
  const signed = (await envelopes(say)).filter((each) => each.envelope);
  const wanted = new Set([...signed.map((each) => each.seq), Number(seq), Number(markSeq ?? 0)]);
  const hashes = new Map(), chained = new ChainWalk(chain), told = [];
  let trust = null, isWritten = false;
  for (let row = 0; ;) {
    const piece = await asked(`events?after=${row}`);
    if (!piece.length) break;
    if (!(await chained.take(piece))) throw new NotProven(chained.fault);
    for (const each of piece) {
      if (wanted.has(each.seq)) hashes.set(each.seq, each.hash);
      if (each.hash === written) isWritten = true;
      if (!each.body.includes('"kind":"key.')) continue;
      const event = JSON.parse(each.body);
      if (!String(event.kind).startsWith("key.")) continue;
      const note = event.note ?? {};
      trust ??= new KeyTrust([]);
      /* A key that replaces no other is believed as the ledger names it: which one it is, is said with the finding. */
      if (event.kind === "key.created") {
        const [key] = await keysFrom(new TextEncoder().encode(JSON.stringify({ kty: "OKP", crv: "Ed25519", x: note.public })));
        trust.known.set(key.keyid, key);
      }
      const wrong = await trust.hear(each.seq, event);
      if (wrong) throw new NotProven(`event ${each.seq} ${wrong}`);
    }
    row = piece.at(-1).row;
    say(`${count(chained.seq, "event")} walked`);
  }
  if (chained.seq < Number(seq)) throw new NotProven(`the chain ends at event ${chained.seq}, and the page was made with ${seq}`);
  if (Number(seq) && hashes.get(Number(seq)) !== head) throw new NotProven("the head that the page shows is not in the chain");
  told.push(`Chain: ${count(chained.seq, "event")}, each with the hash of the one before. Head ${chained.head}`);
  if (mark && hashes.get(Number(markSeq)) !== mark) throw new NotProven(`event ${markSeq}, which the anchor remembers, is not in the chain`);
  if (mark) told.push(`Anchor: event ${markSeq} is in the chain`);
  if (written && !isWritten) throw new NotProven("the head that you wrote down is of no event");
  if (written) told.push("Your head is in the chain");
  told.push(...(trust?.notes ?? []));
  const ids = [...(trust?.known.keys() ?? [])];
  if (keyid && !ids.includes(keyid)) throw new NotProven(`the ledger names no key ${keyid}, or none that leads to it`);
  for (const each of signed) {
    const found = await opened(new TextEncoder().encode(each.envelope), trust?.known ?? new Map());
    if (found.chain !== chain || found.seq !== each.seq || hashes.get(found.seq) !== found.digest) throw new NotProven(`${each.id} says other than event ${each.seq}`);
    if (found.seq > (trust.retired.get(found.keyid) ?? found.seq)) throw new NotProven(`${each.id} was signed by a key that had been replaced`);
  }
  told.push(`Signatures: ${count(signed.length, "envelope")} by ${ids.join(", ") || "no key"}`);
  if (!keyid && signed.length) told.push("These keys are the ledger’s own word: compare their ids with what you got another way.");
  return told;
}

async function verify(event) {
  event.preventDefault();
  const button = form.querySelector("button"), say = (text) => { one("progress").textContent = text; };
  button.disabled = true;
  list(one("found-here"), []);
  try {
    const told = await walk(say);
    say("Verified by this browser");
    list(one("found-here"), told);
    try { sessionStorage.setItem("verified", `${told[0].replace(/^Chain: (.*events?), .*$/, "$1")}, ${new Date().toTimeString().slice(0, 5)}`); } catch { /* a browser that keeps nothing */ }
    window.tellVerified();
  } catch (error) {
    say(`Not verified: ${safe(error.message)}`);
  } finally { button.disabled = false; }
}

let bundle = null;
async function look() {
  if (!bundle) return;
  const said = one("bundle-said"), typed = one("bundle-key").value.trim();
  list(one("found-in-bundle"), []);
  try {
    const isId = /^[A-Za-z0-9_-]{43}$/.test(typed);
    const keys = typed && !isId ? await keysFrom(new TextEncoder().encode(typed)) : [];
    const found = await checkBundle(await filesOf(new Uint8Array(await bundle.arrayBuffer())), { keys, keyids: isId ? [typed] : [] });
    const onlyKey = found.broken.every((each) => each.where === "key");
    said.textContent = !found.code ? "Verified by this browser" : onlyKey ? "Whole, but the key is not known to be the right one" : "Refused: something in it is broken or not proven";
    list(one("found-in-bundle"), [...found.broken.map((each) => `${each.where}: ${each.what}`), ...found.notes, ...found.facts]);
  } catch (error) { said.textContent = `Refused: ${safe(error.message)}`; }
}

one("unscripted").hidden = true;
form.hidden = false;
form.addEventListener("submit", verify);
one("bundle").addEventListener("change", (event) => { bundle = event.target.files[0] ?? null; look(); });
one("bundle-key").addEventListener("change", look);
const drop = one("bundle-form");
drop.addEventListener("submit", (event) => { event.preventDefault(); look(); });
drop.addEventListener("dragover", (event) => event.preventDefault());
drop.addEventListener("drop", (event) => { event.preventDefault(); bundle = event.dataTransfer.files[0] ?? null; look(); });
