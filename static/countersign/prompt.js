// An open question notices that it was answered on another device, withdrawn, or ran out of time.

import { Events } from "./events.js";

const { url, events } = document.querySelector("[data-events]").dataset;

async function look() {
  if (document.hidden) return;
  try {
    const response = await fetch(url, { headers: { Accept: "application/json" }, cache: "no-store" });
    const isOver = response.ok && (await response.json()).state !== "pending";
    if (isOver || response.status === 403) location.reload(); // 403: signed out elsewhere
  } catch (error) {
    console.warn("the question could not be looked at again:", error); // the next event, or the answer, tells
  }
}

new Events(events, look).start();
