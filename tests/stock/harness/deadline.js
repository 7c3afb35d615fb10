// Whatever a test waits for has a deadline, and a name to fail with.

/** How long anything may take. Nothing here takes a second on an idle machine. */
export const PATIENCE_MS = 10_000;

/** What the promise brings, or an error that says what did not come. */
export async function within(promise, what, ms = PATIENCE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** What has arrived and was not yet asked for, in order. */
export class Inbox {
  #what;
  #arrived = [];
  #waiting = [];

  constructor(what) {
    this.#what = what;
  }

  put(item) {
    const next = this.#waiting.shift();
    if (next) next(item);
    else this.#arrived.push(item);
  }

  /** The next one, now or when it arrives. */
  next() {
    if (this.#arrived.length > 0) return Promise.resolve(this.#arrived.shift());
    return within(new Promise((resolve) => this.#waiting.push(resolve)), this.#what);
  }

  /** The next one that fits. What arrives before it is passed over. */
  nextWhere(fits) {
    const search = async () => {
      for (;;) {
        const item = await this.next();
        if (fits(item)) return item;
      }
    };
    return within(search(), this.#what);
  }

  /** So many of them. */
  async take(count) {
    const items = [];
    while (items.length < count) items.push(await this.next());
    return items;
  }

  /** What is there, without waiting. */
  drain() {
    return this.#arrived.splice(0);
  }
}
