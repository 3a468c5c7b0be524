{% load static %}// The service worker: shows notifications, opens their page, and shows an offline page without a network.
// It caches nothing personal: only the offline page and that page's styles, and no other response of the server.

const CACHE = "offline-{{ version }}";
const OFFLINE = "/offline";
const CACHED = [OFFLINE{% for name in offline_files %}, "{% static name %}"{% endfor %}];

// A push message names one of these texts and a prompt. A notification never shows text from an agent.
const TEXTS = {
  prompt: { title: "An agent waits for your answer", body: "Open to see the request.", requireInteraction: true },
  answered: { title: "Already answered", body: "This request no longer needs your answer.", silent: true },
  device_added: { title: "A device was added", body: "Countersign now notifies another device of yours. Not you? Open to remove it." },
  sign_in_link: { title: "A sign-in link for your account was created", body: "Whoever opens it can sign in as you. If you did not expect this, tell an administrator now.", requireInteraction: true },
  password_set: { title: "Your password was changed", body: "It was changed with a link that an administrator created. If you did not expect this, tell an administrator now.", requireInteraction: true },
  address_changed: { title: "Your e-mail address or phone number was changed", body: "An administrator changed it. If you did not expect this, tell an administrator now.", requireInteraction: true },
  test: { title: "It works", body: "This device receives notifications." },
};

self.addEventListener("install", (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(CACHE);
    // Without cookies: the cached page belongs to no user.
    await cache.addAll(CACHED.map((path) => new Request(path, { credentials: "omit", cache: "reload" })));
    await self.skipWaiting(); // an update takes over at once: no page depends on an older worker
  })());
});

self.addEventListener("activate", (event) => {
  event.waitUntil((async () => {
    for (const name of await caches.keys()) if (name !== CACHE) await caches.delete(name);
    await self.clients.claim();
  })());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const isOurs = new URL(request.url).origin === self.location.origin;
  if (request.mode === "navigate" && request.method === "GET" && isOurs) {
    event.respondWith(fetch(request).catch(() => caches.match(OFFLINE)));
  } else if (isOurs && CACHED.includes(new URL(request.url).pathname) && !self.navigator.onLine) {
    event.respondWith(caches.match(request, { ignoreSearch: true }).then((cached) => cached ?? fetch(request)));
  }
});

function read(data) {
  try {
    const message = data.json();
    return { kind: message.kind in TEXTS ? message.kind : "prompt", prompt: String(message.prompt ?? "") };
  } catch {
    return { kind: "prompt", prompt: "" };
  }
}

self.addEventListener("push", (event) => {
  const { kind, prompt } = read(event.data);
  const { title, ...options } = TEXTS[kind];
  event.waitUntil(self.registration.showNotification(title, {
    ...options,
    tag: prompt || kind, // "Already answered" replaces the notification of the prompt
    renotify: kind === "prompt",
    icon: "{% static "countersign/icon-192.png" %}",
    badge: "{% static "countersign/badge-96.png" %}",
    data: { path: /^[0-9a-f-]{36}$/.test(prompt) ? `/prompts/${prompt}` : { prompt: "/", sign_in_link: "/activity", password_set: "/activity", address_changed: "/activity" }[kind] ?? "/devices" },
  }));
});

// A notification only opens a page. It has no button that answers a request.
self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil((async () => {
    const url = new URL(event.notification.data?.path ?? "/", self.location.origin).href;
    const windows = await self.clients.matchAll({ type: "window" });
    const sameWindow = windows.find((one) => one.url === url);
    if (sameWindow) return sameWindow.focus().catch(() => sameWindow);
    for (const one of windows) {
      const navigated = await one.navigate(url).catch(() => null); // null: that window cannot navigate there
      if (navigated) return navigated.focus().catch(() => navigated); // it shows the page even if focus is refused
    }
    return self.clients.openWindow(url);
  })());
});
