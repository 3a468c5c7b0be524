// Reloads an open prompt when it was answered on another device, cancelled, or has expired.

import { Events } from "./events.js";

const { url, events } = document.querySelector("[data-events]").dataset;

async function look() {
  if (document.hidden) return;
  try {
    const response = await fetch(url, { headers: { Accept: "application/json" }, cache: "no-store" });
    const isOver = response.ok && (await response.json()).state !== "pending";
    if (isOver || response.status === 403) location.reload(); // 403: signed out elsewhere
  } catch (error) {
    console.warn("the prompt could not be read again:", error); // the next event tries again
  }
}

new Events(events, look).start();
