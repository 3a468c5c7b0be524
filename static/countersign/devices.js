// /devices: adds this browser, or says why it cannot be added.

import { registered, storeDevice, storedDevice, subscribe } from "./app.js";

const section = document.getElementById("add");
const state = document.getElementById("push-state");
const form = document.getElementById("enrol");

function problemWithBrowser() {
  if (!window.isSecureContext) return "This page was loaded over http, and push messages need https. Ask the administrator of this server.";
  if (!("serviceWorker" in navigator)) return "This browser has no service workers (private windows often have none). Use another browser.";
  // An iPad says that it is a Mac; a Mac has no touch screen.
  const isApple = /iPhone|iPad/.test(navigator.userAgent) || (navigator.platform === "MacIntel" && navigator.maxTouchPoints > 1);
  if (!("PushManager" in window) || !("Notification" in window)) {
    return isApple
      ? "On an iPhone or iPad: add this page to the Home Screen (Share, then Add to Home Screen), and open it from there."
      : "This browser cannot receive push messages. Use another browser.";
  }
  if (Notification.permission === "denied") {
    return "Notifications from this site are blocked. Allow them in the browser's site settings, then reload this page.";
  }
  if (!section.dataset.publicKey) return "This server has no push key yet. Ask its administrator.";
  return "";
}

function nameOf(agent) {
  const system = [["iPhone", "iPhone"], ["iPad", "iPad"], ["Android", "Android"], ["Windows", "Windows"], ["Mac OS", "Mac"], ["Linux", "Linux"]];
  const browser = [["Edg/", "Edge"], ["Firefox/", "Firefox"], ["Chrome/", "Chrome"], ["Safari/", "Safari"]];
  const find = (table) => table.find(([sign]) => agent.includes(sign))?.[1];
  return [find(browser), find(system)].filter(Boolean).join(" on ") || "My browser";
}

// Some browsers never answer if they cannot reach their push service.
function inTime(promise) {
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error("it does not answer")), 20000));
  return Promise.race([promise, late]);
}

async function enrol(event) {
  event.preventDefault();
  state.textContent = "Asking the browser…";
  try {
    if ((await Notification.requestPermission()) !== "granted") {
      state.textContent = problemWithBrowser() || "Without your permission, Countersign cannot notify this browser.";
      return;
    }
    await registered; // throws its problem
    const registration = await navigator.serviceWorker.ready;
    const subscription = await inTime(subscribe(registration, section.dataset.publicKey));
    form.elements.subscription.value = JSON.stringify(subscription);
    form.elements.key.value = section.dataset.publicKey;
    sessionStorage.setItem("countersign.enrolling", subscription.endpoint);
    form.submit();
  } catch (error) {
    state.textContent = `The browser's push service cannot be used now (${error.message}). Try again, or use another browser.`;
  }
}

const endpoint = sessionStorage.getItem("countersign.enrolling");
if (section.dataset.added && endpoint) {
  storeDevice({ id: section.dataset.added, endpoint, key: section.dataset.publicKey });
  sessionStorage.removeItem("countersign.enrolling");
}
const thisDevice = document.querySelector(`[data-device="${CSS.escape(storedDevice()?.id ?? "")}"]`);
const problem = problemWithBrowser();
if (thisDevice) {
  thisDevice.querySelector("[data-this-browser]").hidden = false;
  state.textContent = "This browser is one of your devices.";
} else if (problem) {
  state.textContent = problem;
} else {
  state.textContent = "The browser will ask whether Countersign may show notifications.";
  if (!form.elements.name.value) form.elements.name.value = nameOf(navigator.userAgent);
  form.hidden = false;
  form.addEventListener("submit", enrol);
}
