// Makes an agent's key pair in this browser. Only the public key enters the form.

const form = document.getElementById("register-agent");
const publicKey = form.elements["public_key"];
const section = document.getElementById("field-public_key");
const notice = document.getElementById("made-key");
const link = document.getElementById("save-key");
let made = null;

async function makeKey() {
  const pair = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
  const kid = [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const { kty, crv, x, y, d } = await crypto.subtle.exportKey("jwk", pair.privateKey);
  const open = { kty, crv, x, y, kid, alg: "ES256", use: "sig" };
  const file = new Blob([JSON.stringify({ ...open, d }, null, 2)], { type: "application/json" });
  return { text: JSON.stringify(open, null, 2), address: URL.createObjectURL(file) };
}

async function show() {
  const choice = form.elements["credential"].value;
  section.hidden = choice === "secret";
  const isOwn = choice === "browser";
  publicKey.readOnly = isOwn;
  notice.hidden = !isOwn;
  if (!isOwn) {
    if (made && publicKey.value === made.text) publicKey.value = "";
    return;
  }
  made ??= await makeKey();
  publicKey.value = made.text;
  link.href = made.address;
}

// Without HTTPS a browser has no crypto.subtle: the field then stays open for a pasted key.
if (globalThis.crypto?.subtle) {
  for (const radio of form.elements["credential"]) radio.addEventListener("change", show);
  // Nobody should register an agent whose private key is lost.
  let isSaved = false;
  link.addEventListener("click", () => { isSaved = true; });
  form.addEventListener("submit", (event) => {
    if (form.elements["credential"].value === "browser" && !isSaved) {
      event.preventDefault();
      link.focus();
      notice.classList.add("errornote");
    }
  });
  await show();
}
