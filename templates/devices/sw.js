{% load static %}// The service worker: shows that something waits, opens it, and says when there is no network.
// It keeps nothing personal: the offline page and what that page looks like, and no answer of the server.

const CACHE = "offline-{{ version }}";
const OFFLINE = "/offline";
const KEPT = [OFFLINE{% for name in kept %}, "{% static name %}"{% endfor %}];

// The texts are ours. A push brings only which of them, and which prompt: no word of an agent is ever shown here.
const TEXTS = {
  prompt: { title: "An agent waits for your answer", body: "Open to see what it asks.", requireInteraction: true },
  answered: { title: "Already answered", body: "Nothing waits here any more.", silent: true },
  device_added: { title: "A device was added", body: "Another device of yours is told about prompts now. Not you? Open to remove it." },
  sign_in_link: { title: "A sign-in link for your account was made", body: "Whoever opens it can sign in as you. Not you? Tell an administrator now.", requireInteraction: true },
  password_set: { title: "Your password was changed", body: "By a link that an administrator made. Not you? Tell an administrator now.", requireInteraction: true },
  address_changed: { title: "Your e-mail address or phone number was changed", body: "By an administrator. Not expected? Tell an administrator now.", requireInteraction: true },
  test: { title: "It works", body: "Prompts reach this device." },
};

self.addEventListener("install", (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(CACHE);
    // Without cookies: the page that is kept was made for nobody.
    await cache.addAll(KEPT.map((path) => new Request(path, { credentials: "omit", cache: "reload" })));
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
  } else if (isOurs && KEPT.includes(new URL(request.url).pathname) && !self.navigator.onLine) {
    event.respondWith(caches.match(request, { ignoreSearch: true }).then((kept) => kept ?? fetch(request)));
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
    tag: prompt || kind, // "Already answered" takes the place of what it answers
    renotify: kind === "prompt",
    icon: "{% static "countersign/icon-192.png" %}",
    badge: "{% static "countersign/badge-96.png" %}",
    data: { path: /^[0-9a-f-]{36}$/.test(prompt) ? `/prompts/${prompt}` : { prompt: "/", sign_in_link: "/activity", password_set: "/activity", address_changed: "/activity" }[kind] ?? "/devices" },
  }));
});

// Opening is all that a notification does. There is no button on it that answers.
self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil((async () => {
    const url = new URL(event.notification.data?.path ?? "/", self.location.origin).href;
    const windows = await self.clients.matchAll({ type: "window" });
    const there = windows.find((one) => one.url === url);
    if (there) return there.focus().catch(() => there);
    for (const one of windows) {
      const led = await one.navigate(url).catch(() => null); // null: that window cannot be led there
      if (led) return led.focus().catch(() => led); // it is there, also where it may not be brought to the front
    }
    return self.clients.openWindow(url);
  })());
});
