/* A second verifier of what Tallygate signs and chains. It shares no code with the program and needs nothing beside it.

   Under Node 22 or later:   node verify.mjs BUNDLE --key key.pem [--head HASH]
   In a browser:             import { checkBundle, filesOf, ChainWalk } from "./verify.mjs"

   Exit codes are those of `tallygate verify`: 0 all holds, 12 chain, 14 head, 15 attestation, 16 key; 2 for a call that
   is not understood. What it does not do: hold tables against events, and read run logs; that takes the ledger itself. */

const PAYLOAD_TYPE = "application/vnd.in-toto+json";
const ROTATION_TYPE = "application/vnd.tallygate.key-rotation+json";
const STATEMENT_TYPE = "https://in-toto.io/Statement/v1";
const PREDICATE = /^urn:tallygate:attestation:(budget-exhausted|session-summary|checkpoint):v1$/;
const SPKI = "302a300506032b6570032100";
const GENESIS = "0".repeat(64);
const CODES = { chain: 12, head: 14, attestation: 15, key: 16 };
const ENVELOPE_BYTES = 1 << 20, FILE_BYTES = 64 << 20, ALL_BYTES = 512 << 20, FILES = 100_000, KEYS = 1000, RATIO = 200;
const SHOWN = 100;

const utf8 = new TextEncoder();
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** What was handed over is not what it should be: a sentence for whoever reads it. */
export class NotProven extends Error {}

// --- bytes ----------------------------------------------------------------------------------------------------------

const joined = (parts) => {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) { all.set(part, at); at += part.length; }
  return all;
};
const big = (value, size) => {
  const bytes = new Uint8Array(size);
  for (let rest = BigInt(value), at = size - 1; at >= 0; at -= 1, rest >>= 8n) bytes[at] = Number(rest & 255n);
  return bytes;
};
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const unhex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const isHash = (text) => typeof text === "string" && /^[0-9a-f]{64}$/.test(text);
const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
const same = (one, other) => one.length === other.length && one.every((byte, at) => byte === other[at]);

const base64 = (text, what) => {
  if (typeof text !== "string" || !/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text))
    throw new NotProven(`${what} is not base64.`);
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
};
const base64url = (bytes) =>
  btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const unbase64url = (text, what) => {
  if (typeof text !== "string" || text.length > 200 || !/^[A-Za-z0-9_-]*$/.test(text))
    throw new NotProven(`${what} is not base64url.`);
  const plain = text.replaceAll("-", "+").replaceAll("_", "/");
  return base64(plain + "=".repeat((4 - (plain.length % 4)) % 4), what);
};

/* JSON.parse takes the last of two values for one name and other readers the first, so such an object is refused. The
   text is JSON already when this looks at it: strings are the only places where a bracket or comma means nothing. */
const namesStandOnce = (text) => {
  const open = [];
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?|[{}[\]]/g)) {
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(null);
    else if (token === "}" || token === "]") open.pop();
    else if (token.endsWith(":")) {
      const name = JSON.parse(token.slice(0, token.lastIndexOf('"') + 1));
      const known = open.at(-1);
      if (known.has(name)) return false;
      known.add(name);
    }
  }
  return true;
};
const jsonObject = (bytes, what) => {
  if (bytes.length > ENVELOPE_BYTES) throw new NotProven(`The ${what} has more than ${ENVELOPE_BYTES} bytes.`);
  let found;
  try {
    const text = strict.decode(bytes);
    found = JSON.parse(text);
    if (!namesStandOnce(text)) throw new NotProven("a name stands twice in one object");
  } catch (error) {
    throw new NotProven(`The ${what} is not JSON: ${String(error.message).slice(0, 200)}.`);
  }
  if (!isPlain(found)) throw new NotProven(`The ${what} is not a JSON object.`);
  return found;
};
const isPlain = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const hasExactly = (value, names) => isPlain(value) && Object.keys(value).sort().join() === [...names].sort().join();

// --- keys -----------------------------------------------------------------------------------------------------------

/** A public key from its 32 bytes: what verifies, and the RFC 7638 thumbprint that is its name. */
export async function publicKey(raw) {
  if (raw.length !== 32) throw new NotProven("A key of Ed25519 has 32 bytes.");
  const x = base64url(raw);
  const keyid = base64url(await sha256(utf8.encode(`{"crv":"Ed25519","kty":"OKP","x":"${x}"}`)));
  let imported;
  try { imported = await crypto.subtle.importKey("raw", raw, { name: "Ed25519" }, false, ["verify"]); }
  catch (error) {
    if (error.name === "NotSupportedError") throw new NotProven("This program has no Ed25519; take Node 22 or a newer browser.");
    throw new NotProven("A key is no point of Ed25519.");
  }
  const verifies = async (signature, message) =>
    signature.length === 64 && crypto.subtle.verify({ name: "Ed25519" }, imported, signature, message);
  return { x, keyid, verifies };
}

const ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const fromDid = (text) => {
  let number = 0n;
  for (const letter of text.slice("did:key:z".length, 120)) {
    if (!ALPHABET.includes(letter)) throw new NotProven("This is no did:key.");
    number = number * 58n + BigInt(ALPHABET.indexOf(letter));
  }
  const raw = big(number, 34);
  if (raw[0] !== 0xed || raw[1] !== 1) throw new NotProven("This did:key is none of Ed25519.");
  return raw.slice(2);
};

/** The public keys in a file: PEM, one JSON Web Key or a set, or did:key. */
export async function keysFrom(bytes) {
  const text = new TextDecoder().decode(bytes).trim();
  if (text.startsWith("did:key:z")) return [await publicKey(fromDid(text))];
  const pem = /-----BEGIN PUBLIC KEY-----([\s\S]*?)-----END PUBLIC KEY-----/.exec(text);
  if (pem) {
    const raw = base64(pem[1].replace(/\s/g, ""), "The PEM");
    if (hex(raw.slice(0, 12)) !== SPKI) throw new NotProven("The PEM holds no Ed25519 public key.");
    return [await publicKey(raw.slice(12))];
  }
  let found;
  try { found = JSON.parse(text); } catch { throw new NotProven("A public key is a PEM, a JSON Web Key or set, or a did:key."); }
  const members = isPlain(found) && Array.isArray(found.keys) ? found.keys.slice(0, KEYS) : [found];
  const ours = members.filter((each) => isPlain(each) && each.crv === "Ed25519");
  if (!ours.length || ours.some((each) => each.kty !== "OKP")) throw new NotProven("There is no Ed25519 key in it.");
  return Promise.all(ours.map(async (each) => publicKey(unbase64url(each.x, "A key"))));
}

// --- envelopes and statements ---------------------------------------------------------------------------------------

const pae = (type, payload) => {
  const kind = utf8.encode(type);
  return joined([utf8.encode(`DSSEv1 ${kind.length} `), kind, utf8.encode(` ${payload.length} `), payload]);
};

/** An envelope opened by one of these keys (a Map by key id): its statement and the exact bytes that were signed. */
export async function opened(bytes, keys) {
  const envelope = jsonObject(bytes, "envelope");
  const signed = Array.isArray(envelope.signatures) ? envelope.signatures : [];
  if (!hasExactly(envelope, ["payload", "payloadType", "signatures"]) || signed.length !== 1 || !hasExactly(signed[0], ["keyid", "sig"]))
    throw new NotProven("This is not a DSSE envelope with exactly one signature.");
  const { keyid, sig } = signed[0];
  if (typeof keyid !== "string" || envelope.payloadType !== PAYLOAD_TYPE)
    throw new NotProven("The envelope's type is not that of a statement.");
  const signature = base64(sig, "The signature"), payload = base64(envelope.payload, "The payload");
  const key = keys.get(keyid);
  if (!key) throw Object.assign(new NotProven(`The key ${keyid.slice(0, 60)} that is said to have signed is not one you trust.`), { area: "key" });
  if (!(await key.verifies(signature, pae(PAYLOAD_TYPE, payload))))
    throw new NotProven("The signature does not fit: payload or signature were changed, or another key has signed.");
  return { keyid, payload, ...readStatement(payload) };
}

const readStatement = (payload) => {
  const told = jsonObject(payload, "statement");
  const ledger = told.predicate?.ledger, subject = told.subject?.[0];
  const kind = PREDICATE.exec(typeof told.predicateType === "string" ? told.predicateType : "")?.[1];
  if (!kind || told._type !== STATEMENT_TYPE || told.subject.length !== 1 || !isPlain(ledger))
    throw new NotProven("The payload is not a statement of Tallygate.");
  const name = `ledger/${ledger.id}/${ledger.tenant}/${ledger.seq}`;
  const digest = subject?.digest?.sha256;
  if (!Number.isSafeInteger(ledger.seq) || !isHash(digest) || !isHash(ledger.previous) || subject.name !== name || ledger.hash !== digest)
    throw new NotProven("The statement's subject is not the event that its predicate names.");
  return { kind, subject: name, digest, seq: ledger.seq, chain: `${ledger.id}/${ledger.tenant}`, predicate: told.predicate };
};

// --- chain ----------------------------------------------------------------------------------------------------------

/** The hash of an event: over its chain's name, its number, the hash before it, and the bytes of its body. */
export async function eventHash(chain, seq, previous, body) {
  const name = utf8.encode(chain);
  const parts = [utf8.encode("tallygate/event/v1\0"), big(name.length, 2), name, big(seq, 8), unhex(previous), utf8.encode(body)];
  return hex(await sha256(joined(parts)));
}

const isEvent = (each) =>
  isPlain(each) && Number.isSafeInteger(each.seq) && each.seq > 0 && isHash(each.hash) && typeof each.body === "string" && each.body.isWellFormed();

/** A whole chain followed from its first event, in pieces; `fault` is what is wrong, where it stopped being true. */
export class ChainWalk {
  constructor(chain) { this.chain = chain; this.seq = 0; this.head = GENESIS; this.fault = null; }

  async take(events) {
    /* Each hash is made with the one that is stated before it, so a piece is hashed at once and compared afterwards. */
    const stated = (at) => (at ? events[at - 1].hash : this.head);
    if (!events.every(isEvent)) { this.fault ??= `after event ${this.seq} comes something that is no event`; return false; }
    const made = await Promise.all(events.map((each, at) => eventHash(this.chain, each.seq, stated(at), each.body)));
    for (const [at, each] of events.entries()) {
      if (this.fault) return false;
      if (each.seq !== this.seq + 1) this.fault = `event ${this.seq + 1} is missing: the next one is ${each.seq}`;
      else if (each.hash !== made[at]) this.fault = `event ${each.seq} was changed: its hash does not fit its content`;
      else { this.seq = each.seq; this.head = each.hash; }
    }
    return !this.fault;
  }
}

/** Trust that goes on from a trusted key to those that it signed over to; `retired` is where each had its last event. */
export class KeyTrust {
  constructor(keys) { this.known = new Map(keys.map((key) => [key.keyid, key])); this.retired = new Map(); this.notes = []; }

  /** Take the note of an event that tells of a key; what is wrong with it, or null. */
  async hear(seq, event) {
    const note = event.note;
    if (!isPlain(note) || typeof note.keyid !== "string" || typeof note.public !== "string" || !Number.isInteger(event.at_us))
      return "does not tell of a key";
    if (event.kind === "key.created" && "lost" in note)
      this.notes.push(`event ${seq}: key ${note.keyid} was made without a signature of ${note.lost}: trust it by itself.`);
    if (event.kind !== "key.rotated") return null;
    try {
      const [old, fresh] = await Promise.all([note.replaces_public, note.public].map((x) => publicKey(unbase64url(x, "A key"))));
      const [byOld, byNew] = [note.old_signature, note.new_signature].map((text) => unbase64url(text, "A signature"));
      if (!this.known.has(old.keyid)) return null;
      const message = pae(ROTATION_TYPE, utf8.encode(`{"new":"${fresh.x}","old":"${old.x}"}`));
      if (!(await old.verifies(byOld, message)) || !(await fresh.verifies(byNew, message))) return "both keys must have signed";
      this.known.set(fresh.keyid, fresh);
      this.retired.set(old.keyid, seq);
      return null;
    } catch (error) {
      if (error instanceof NotProven) return "does not tell of a key";
      throw error;
    }
  }
}

// --- bundles --------------------------------------------------------------------------------------------------------

const lines = (bytes) => {
  const found = [];
  for (let start = 0; start < bytes.length;) {
    let end = bytes.indexOf(10, start);
    if (end < 0) end = bytes.length;
    found.push(bytes.subarray(start, end));
    start = end + 1;
  }
  return found;
};

class Findings {
  constructor() { this.broken = []; this.facts = []; this.notes = []; this.counted = {}; }
  add(area, where, what) {
    this.counted[area] = (this.counted[area] ?? 0) + 1;
    if (this.counted[area] <= SHOWN) this.broken.push({ area, where, what });
  }
  get code() { return Object.entries(CODES).find(([area]) => this.counted[area])?.[1] ?? 0; }
}

const readEvents = async (found, bytes, trust) => {
  const events = new Map();
  for (const [at, line] of lines(bytes ?? new Uint8Array()).entries()) {
    let told = null;
    try { told = JSON.parse(strict.decode(line)); } catch { /* told of below */ }
    for (const name of ["previous", "hash"]) if (typeof told?.[name] === "string") told[name] = told[name].toLowerCase();
    if (!isEvent(told) || !isHash(told.previous)) found.add("chain", `events.jsonl line ${at + 1}`, "is no event");
    else if (events.has(told.seq)) found.add("chain", `events.jsonl, event ${told.seq}`, "stands twice");
    else events.set(told.seq, told);
  }
  for (const seq of [...events.keys()].sort((one, other) => one - other)) {
    let event = null;
    try { event = JSON.parse(events.get(seq).body); } catch { /* told of below */ }
    if (!isPlain(event) || typeof event.kind !== "string") found.add("chain", `events.jsonl, event ${seq}`, "is no event");
    else if (event.kind.startsWith("key.")) {
      const wrong = await trust.hear(seq, event);
      if (wrong) found.add("key", `events.jsonl, event ${seq}`, wrong);
    }
  }
  return events;
};

const holdEvents = async (found, proven, events) => {
  const [{ chain }] = proven;
  for (const [seq, each] of events) {
    if ((await eventHash(chain, seq, each.previous, each.body)) !== each.hash)
      found.add("chain", `events.jsonl, event ${seq}`, "its hash is not that of its bytes");
    const next = events.get(seq + 1);
    if (next && next.previous !== each.hash) found.add("chain", `events.jsonl, event ${seq + 1}`, "does not follow the event before it");
  }
  for (const { kind, seq, digest } of proven) {
    const there = events.get(seq);
    if (!there && kind !== "checkpoint") found.add("chain", `events.jsonl, event ${seq}`, "is missing, and was signed");
    else if (there && there.hash !== digest) found.add("chain", `events.jsonl, event ${seq}`, "its hash is not the one that was signed");
  }
};

/** Everything that is wrong with a bundle (a Map of names to bytes), by keys and key ids from elsewhere, and a head. */
export async function checkBundle(files, { keys = [], keyids = [], head = null } = {}) {
  const found = new Findings();
  if (!files.has("envelope.json")) { found.add("attestation", "bundle", "has no envelope.json"); return found; }
  const brought = [];
  for (const name of ["public-key.pem", "public-key.jwks.json"]) {
    try { if (files.has(name)) brought.push(...(await keysFrom(files.get(name)))); }
    catch (error) { if (!(error instanceof NotProven)) throw error; found.add("attestation", name, error.message); }
  }
  /* A key id is the hash of its key: by it the key of the bundle can be told from another that was put in. */
  const given = [...keys, ...brought.filter((key) => keyids.includes(key.keyid))];
  const isBlind = !keys.length && !keyids.length;
  const trust = new KeyTrust(isBlind ? brought : given);
  const events = await readEvents(found, files.get("events.jsonl"), trust);
  const proven = [];
  const named = [...files.keys()].filter((name) => /^(envelope|checkpoint)\.json$|^attestations\//.test(name)).sort();
  for (const name of named) {
    try {
      const each = await opened(files.get(name), trust.known);
      if (each.seq > (trust.retired.get(each.keyid) ?? each.seq)) { found.add("key", name, "the key that signed had been replaced before"); continue; }
      proven.push({ name, ...each });
      if (name === "envelope.json" && files.has("statement.json") && !same(files.get("statement.json"), each.payload))
        found.add("attestation", "statement.json", "is not what was signed");
    } catch (error) {
      if (!(error instanceof NotProven)) throw error;
      found.add(error.area ?? "attestation", name, error.message);
    }
  }
  if (files.has("events.jsonl") && proven.length) await holdEvents(found, proven, events);
  for (const each of proven) found.facts.push(`${each.name}: ${each.kind} about ${each.subject}, sha256 ${each.digest}`);
  found.notes.push(...trust.notes);
  if (head !== null && ![...events.values()].some((each) => each.hash === head) && !proven.some((each) => each.digest === head))
    found.add("head", "head", "is of no event in this bundle: a bundle holds one session, the whole history is in the ledger");
  if (isBlind) {
    const ids = [...new Set(proven.map((each) => each.keyid))];
    found.add("key", "key", ids.length
      ? `nobody but the bundle says that the key ${ids.join(", ")} is the right one: compare it with what you got over another way, and pass it with --key`
      : "no key was given, and the bundle's own opens nothing");
  }
  return found;
}

// --- archives -------------------------------------------------------------------------------------------------------

const CRC = Array.from({ length: 256 }, (_, at) => { let c = at; for (let k = 0; k < 8; k += 1) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1; return c >>> 0; });
const crc32 = (bytes) => { let c = 0xffffffff; for (const byte of bytes) c = CRC[(c ^ byte) & 255] ^ (c >>> 8); return (c ^ 0xffffffff) >>> 0; };

const inflated = async (packed, size) => {
  const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const parts = [];
  for (let got = 0; ;) {
    const { done, value } = await reader.read();
    if (done) break;
    got += value.length;
    if (got > size) { await reader.cancel(); throw new NotProven("The archive unpacks to more than it says."); }
    parts.push(value);
  }
  return joined(parts);
};

/** The files of a bundle out of what was handed over: an archive, or one envelope. */
export async function filesOf(bytes) {
  if (bytes.length > FILE_BYTES) throw new NotProven("This is larger than a bundle is.");
  if (hex(bytes.slice(0, 2)) !== "504b") return new Map([["envelope.json", bytes]]);
  try { return await unzipped(bytes); }
  catch (error) { throw error instanceof NotProven ? error : new NotProven("The archive cannot be read."); }
}

const unzipped = async (bytes) => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end -= 1;
  if (end < 0) throw new NotProven("The archive has no end.");
  const count = view.getUint16(end + 10, true), files = new Map();
  if (count === 0xffff) throw new NotProven("The archive holds more files than a bundle does here; unpack it and name the folder.");
  let at = view.getUint32(end + 16, true), all = 0;
  for (let number = 0; number < count; number += 1) {
    if (view.getUint32(at, true) !== 0x02014b50) throw new NotProven("The archive's list of files is damaged.");
    const [flags, method] = [view.getUint16(at + 8, true), view.getUint16(at + 10, true)];
    const [crc, packed, size] = [16, 20, 24].map((offset) => view.getUint32(at + offset, true));
    const [nameSize, extra, comment] = [28, 30, 32].map((offset) => view.getUint16(at + offset, true));
    const start = view.getUint32(at + 42, true);
    const name = strict.decode(bytes.subarray(at + 46, at + 46 + nameSize));
    at += 46 + nameSize + extra + comment;
    if (name.endsWith("/")) continue;
    all += size;
    if (size > FILE_BYTES || all > ALL_BYTES || size > RATIO * Math.max(packed, 100)) throw new NotProven("The archive unpacks to more than a bundle has.");
    if (files.has(name)) throw new NotProven(`${name} stands twice in the archive.`);
    if (flags & 1 || (method !== 0 && method !== 8) || view.getUint32(start, true) !== 0x04034b50) throw new NotProven("The archive cannot be read.");
    const body = start + 30 + view.getUint16(start + 26, true) + view.getUint16(start + 28, true);
    const raw = bytes.subarray(body, body + packed);
    const content = method === 8 ? await inflated(raw, size) : raw.slice();
    if (content.length !== size || crc32(content) !== crc) throw new NotProven(`${name} in the archive is damaged.`);
    files.set(name, content);
  }
  return files;
};

// --- command --------------------------------------------------------------------------------------------------------

const shown = (text) => String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\ufffd").slice(0, 1000);

const filesAt = async (path, fs, join) => {
  if (!fs.statSync(path).isDirectory()) {
    if (fs.statSync(path).size > FILE_BYTES) throw new NotProven(`${path} is larger than a bundle is.`);
    return filesOf(new Uint8Array(fs.readFileSync(path)));
  }
  const files = new Map();
  for (const folder of ["", "attestations/"]) {
    const there = fs.existsSync(join(path, folder)) ? fs.readdirSync(join(path, folder), { withFileTypes: true }) : [];
    /* A link could name any file of the reader's: only files themselves are read. */
    for (const each of there.filter((one) => one.isFile() && (!folder || one.name.endsWith(".json")))) {
      const file = join(path, folder, each.name);
      if (files.size >= FILES || fs.statSync(file).size > FILE_BYTES) throw new NotProven(`${path} holds more or larger files than a bundle has.`);
      files.set(folder + each.name, new Uint8Array(fs.readFileSync(file)));
    }
  }
  return files;
};

async function command(argv) {
  const [fs, { join }, { parseArgs }] = await Promise.all([import("node:fs"), import("node:path"), import("node:util")]);
  let asked;
  try {
    asked = parseArgs({ args: argv, allowPositionals: true, options: { key: { type: "string", multiple: true }, head: { type: "string" } } });
    if (asked.positionals.length !== 1) throw new Error("one bundle is named: a folder, a zip or an envelope");
    if (asked.values.head !== undefined && !/^[0-9a-fA-F]{64}$/.test(asked.values.head)) throw new Error("--head takes the 64 hexadecimal digits of a hash");
  } catch (error) {
    console.error(`${error.message}\nnode verify.mjs BUNDLE [--key FILE or KEY ID] [--head HASH]`);
    return 2;
  }
  let found;
  try {
    const [keys, keyids] = [[], []];
    for (const name of asked.values.key ?? []) {
      if (fs.existsSync(name)) keys.push(...(await keysFrom(new Uint8Array(fs.readFileSync(name)))));
      else if (/^[A-Za-z0-9_-]{43}$/.test(name)) keyids.push(name);
      else { console.error(`${shown(name)} is no file and no key id.`); return 2; }
    }
    const files = await filesAt(asked.positionals[0], fs, join);
    found = await checkBundle(files, { keys, keyids, head: asked.values.head?.toLowerCase() ?? null });
  } catch (error) {
    if (error instanceof NotProven) { console.log(`ATTESTATION  ${shown(error.message)}`); return CODES.attestation; }
    if (error.code) { console.error(shown(error.message)); return 2; }
    throw error;
  }
  for (const fact of found.facts) console.log(`${found.code ? "read" : "proven"}  ${shown(fact)}`);
  for (const note of found.notes) console.log(`note: ${shown(note)}`);
  for (const each of found.broken) console.log(`${each.area.toUpperCase()}  ${shown(`${each.where}: ${each.what}`)}.`);
  console.log(found.code ? "Something is broken or not proven." : "Everything verifies.");
  return found.code;
}

if (typeof process !== "undefined" && process.versions?.node && process.argv[1]) {
  const [{ realpathSync }, { fileURLToPath }] = await Promise.all([import("node:fs"), import("node:url")]);
  let isCommand = false;
  try { isCommand = realpathSync(process.argv[1]) === realpathSync(fileURLToPath(import.meta.url)); } catch { /* imported */ }
  if (isCommand) process.exitCode = await command(process.argv.slice(2));
}
