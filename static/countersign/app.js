// On every page of a signed-in user: starts the service worker and renews this browser's subscription.

export const DEVICE_KEY = "countersign.device"; // { id, endpoint, key } of this browser, if it is enrolled

export function storedDevice() {
  try {
    return JSON.parse(localStorage.getItem(DEVICE_KEY) ?? "null");
  } catch {
    return null;
  }
}

export function storeDevice(device) {
  localStorage.setItem(DEVICE_KEY, JSON.stringify(device));
}

export function bytesOf(base64url) {
  const text = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

export async function subscribe(registration, key) {
  return registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: bytesOf(key) });
}

// The subscription ended, or the server's key was rotated: subscribe again, as the same device.
async function renew(registration, key) {
  const device = storedDevice();
  if (!device || !key || Notification.permission !== "granted") return;
  const current = await registration.pushManager.getSubscription();
  if (current && current.endpoint === device.endpoint && device.key === key) return;
  if (current && device.key !== key) await current.unsubscribe();
  const subscription = await subscribe(registration, key);
  const body = new FormData();
  body.set("csrfmiddlewaretoken", document.querySelector("[name=csrfmiddlewaretoken]").value);
  body.set("old_endpoint", device.endpoint);
  body.set("subscription", JSON.stringify(subscription));
  body.set("key", key);
  const response = await fetch(`/devices/${device.id}/renew`, { method: "POST", body });
  if (response.ok) storeDevice({ ...device, endpoint: subscription.endpoint, key });
  else if (response.status === 404) localStorage.removeItem(DEVICE_KEY); // another browser removed it
}

async function start() {
  const registration = await navigator.serviceWorker.register("/sw.js", { updateViaCache: "none" });
  const key = document.querySelector("meta[name=push-key]")?.content;
  // Not awaited: the next page tries again after a failure.
  if ("PushManager" in window) renew(registration, key).catch((error) => console.warn("not subscribed again:", error));
}

const canWork = "serviceWorker" in navigator && window.isSecureContext;
export const registered = canWork ? start() : Promise.reject(new Error("this browser has no service workers"));
registered.catch(() => {}); // a caller that needs it awaits it and shows the problem
