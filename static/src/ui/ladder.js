// Adaptive streaming: a video in several sizes, of which the connection decides. Loaded only for a video that has them.
import Hls from 'hls.js/light';

const ADDRESS = /#EXT-X-MAP:.*URI="([^"]+)"/;

/**
 * Play a ladder in a <video>.
 * @param {HTMLVideoElement} video
 * @param {string} master  the address of the list of sizes; the addresses in what it leads to are signed for a while
 * @param {string} size  what to begin with: as `choose`
 * @param {() => void} failed
 * @returns {{choose: (size: string) => void, stop: () => void} | null} null when the browser cannot: play the file instead.
 *   `choose` takes the name of a size ("720p"), or "auto": the connection decides
 */
export function playLadder(video, master, size, failed) {
  if (!Hls.isSupported()) return null;
  const fresh = new Map(); // path of a size's file → its address as signed anew
  let renewals = 0;
  let renewing = false;
  const hls = new Hls({
    enableWorker: false, // it would be a script made of a blob, which our content policy forbids
    capLevelToPlayerSize: true,
    startPosition: video.currentTime || -1,
    xhrSetup: (xhr, url) => {
      const signed = fresh.get(pathOf(url));
      if (signed) xhr.open('GET', signed, true);
    },
  });

  const fail = () => {
    hls.destroy();
    failed();
  };
  /** The addresses have expired: ask for others, and go on with what is loaded. A new list would begin from nothing. */
  const renew = async () => {
    if (renewing) return;
    if (renewals > 0) return fail();
    renewing = true;
    renewals += 1;
    try {
      for (const address of await Promise.all(hls.levels.map(({ uri }) => addressIn(uri)))) fresh.set(pathOf(address), address);
      renewing = false;
      hls.startLoad(video.currentTime);
    } catch {
      fail();
    }
  };

  const idOf = (name) => hls.levels.findIndex(({ uri }) => pathOf(uri).endsWith(`/${name}.m3u8`)); // -1: none of them, all
  hls.on(Hls.Events.MANIFEST_PARSED, () => {
    if (size !== 'auto') hls.currentLevel = idOf(size);
  });
  hls.on(Hls.Events.FRAG_BUFFERED, () => (renewals = 0));
  hls.on(Hls.Events.ERROR, (_, { fatal, type, response }) => {
    if (type === Hls.ErrorTypes.NETWORK_ERROR && response?.code === 403) renew();
    else if (fatal && type === Hls.ErrorTypes.MEDIA_ERROR && renewals === 0) {
      renewals += 1;
      hls.recoverMediaError();
    } else if (fatal && !renewing) fail();
  });
  hls.loadSource(master);
  hls.attachMedia(video);
  return { choose: (name) => (hls.nextLevel = idOf(name)), stop: () => hls.destroy() };
}

/** Where the file of a size lies, from its list. */
async function addressIn(list) {
  const answer = await fetch(list);
  if (!answer.ok) throw new Error(`no list: ${answer.status}`);
  return new URL(ADDRESS.exec(await answer.text())[1], list).href;
}

function pathOf(address) {
  const { origin, pathname } = new URL(address, location.href);
  return origin + pathname;
}
