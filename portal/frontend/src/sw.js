// @ts-check
// Keeps one page, the one that says that the portal does not answer, and nothing else: what people
// see of a laboratory is never an old copy. Only where the network fails is the page shown.
const KEPT = 'offline';
const PAGE = '/offline';
const worker = /** @type {any} */ (self);

/** Keep the page and the static files that it names. */
async function keep() {
  const answer = await fetch(PAGE, { cache: 'no-store' });
  if (!answer.ok) throw new Error(`the portal answered ${answer.status}`);
  const files = [...(await answer.clone().text()).matchAll(/(?:href|src)="(\/static\/[^"#]+)/g)].map(([, file]) => file);
  await caches.delete(KEPT);
  const cache = await caches.open(KEPT);
  await Promise.all([cache.put(PAGE, answer), cache.addAll([...new Set(files)])]);
}

worker.addEventListener('install', (event) => {
  worker.skipWaiting();
  event.waitUntil(keep());
});
worker.addEventListener('activate', (event) => event.waitUntil(worker.clients.claim()));
worker.addEventListener('fetch', (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== 'GET' || origin !== worker.location.origin) return;
  const kept = request.mode === 'navigate' ? PAGE : pathname.startsWith('/static/') ? request : null;
  if (kept === null) return;
  event.respondWith(
    fetch(request).catch(async (error) => {
      const page = await caches.match(kept);
      if (page) return page;
      throw error;
    }),
  );
});
