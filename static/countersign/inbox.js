// The inbox refreshes while it is visible: when the server sends an event, or every two seconds without a stream.

import { Events } from "./events.js";

const list = document.getElementById("list");
const notice = document.getElementById("notice");
const EVERY = 2000; // milliseconds
const AT_MOST = 30000;
let pause = EVERY;
let timer = 0;
let known = "";
let running = false;
let again = false;

function count() {
  return Number(list.querySelector("[data-waiting]")?.dataset.waiting ?? 0);
}

function put(html) {
  const before = count();
  const focused = document.activeElement?.closest("#list a")?.getAttribute("href");
  list.innerHTML = html; // our own server's rendering of the same page, escaped there
  if (focused) list.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  const now = count();
  document.title = `${now ? `(${now}) ` : ""}Inbox – Countersign`;
  if (now > before) {
    notice.textContent = now === 1 ? "An agent waits for your answer." : `${now} requests wait for your answer.`;
    list.querySelector(".waiting")?.classList.add("arrived");
  } else {
    notice.textContent = "";
  }
  document.dispatchEvent(new Event("list-changed"));
}

async function refresh() {
  if (running) {
    again = true; // the running fetch may not have the newest change
    return;
  }
  running = true;
  do {
    again = false;
    await look();
  } while (again);
  running = false;
}

async function look() {
  clearTimeout(timer);
  if (document.hidden) return;
  let failed = false;
  try {
    const response = await fetch(list.dataset.url, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (response.redirected) return location.reload(); // the session has ended: the server asks to sign in
    if (!response.ok) throw new Error(String(response.status));
    const html = await response.text();
    if (html !== known) put(html); // also the first: it may be newer than the page
    if (pause !== EVERY) notice.textContent = "";
    known = html;
    pause = EVERY;
  } catch {
    failed = true;
    pause = Math.min(pause * 2, AT_MOST);
    notice.textContent = "The server does not answer. Trying again…";
  }
  if (failed || !events.isOpen) timer = setTimeout(refresh, pause);
}

const events = new Events(list.dataset.events, refresh);
events.start();
