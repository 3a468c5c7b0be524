// Receives the server's events while the page is visible.

const LISTEN_AGAIN = 60000; // milliseconds

export class Events {
  #url;
  #look;
  #stream = null;
  #timer = 0;

  // `look` is called now, whenever something changed, and when the page is looked at again.
  constructor(url, look) {
    this.#url = url;
    this.#look = look;
    document.addEventListener("visibilitychange", () => this.start());
  }

  get isOpen() {
    return this.#stream?.readyState === EventSource.OPEN;
  }

  start() {
    this.#listen();
    this.#look();
  }

  // A stream that breaks is opened again by the browser; one that the server refuses is not.
  #listen() {
    clearTimeout(this.#timer);
    this.#stream?.close();
    this.#stream = null;
    if (document.hidden || !("EventSource" in window)) return; // browsers open six connections to a server, no more
    const stream = new EventSource(this.#url);
    this.#stream = stream;
    stream.addEventListener("look", () => this.#look());
    stream.onerror = () => {
      if (stream.readyState === EventSource.CLOSED) this.#timer = setTimeout(() => this.#listen(), LISTEN_AGAIN);
      this.#look();
    };
  }
}
